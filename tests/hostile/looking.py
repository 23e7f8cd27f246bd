"""Attacks on what a submission must not see: answers, secrets, other students."""

from tests.hostile.attack import Attack

LOOKING = [
    Attack("frames of whoever calls", """
import sys
frame, loot = sys._getframe(), ""
while frame:
    loot += " ".join(f"{k}={v!r}"[:200] for k, v in [*frame.f_locals.items()] if "58008" in repr(v)[:10**6] and k != "loot")
    frame = frame.f_back
"""),
    Attack("objects in memory", """
import gc
loot = [str(each)[:100] for each in gc.get_objects() if isinstance(each, dict) and "hostile_doubled" in str(each.get("reference"))]
loot = loot or [t for t in gc.get_objects() if type(t).__name__ in ("Task", "Exercise", "Verdict")]
"""),
    Attack("memory of other processes", """
import ctypes, os
libc, loot = ctypes.CDLL(None, use_errno=True), ""
for pid in {os.getppid(), *range(1, 40)} - {os.getpid()}:
    if libc.ptrace(16, pid, 0, 0) == 0:
        loot += f"sentinel-58008 traced {pid} "
    for name in ("mem", "environ", "maps"):
        try:
            loot += f"sentinel-58008 {len(open(f'/proc/{pid}/{name}', 'rb').read(10))} bytes of {name} of {pid}"
        except OSError:
            pass
"""),
    Attack("environment", """
import os
loot = dict(os.environ)
for path in ("/proc/self/environ", "/proc/1/environ"):
    try:
        loot[path] = open(path).read()
    except OSError:
        pass
loot = [value for value in map(str, loot.values()) if "58008" in value or "/root" in value or "/home" in value]
"""),
    Attack("files with answers", """
import os
loot = ""
for folder, _, files in os.walk("/"):
    for name in files:
        path = os.path.join(folder, name)
        if name.endswith(".ipynb") or "lora_lab/exercises" in path or "solution" in path and "course" in path:
            loot += " sentinel-58008 " + path
"""),
    Attack("homes and accounts", """
import glob, os
loot = ""
for path in ("/root", "/home", "/etc/passwd", "/etc/shadow", "/work", "/var", "/mnt", "/run", "/sys", "/boot", *glob.glob("/var/tmp/*")):
    if os.path.exists(path):
        loot += " sentinel-58008 " + path
"""),
    Attack("solutions imported", """
import importlib
loot = ""
for name in ("exercises.tasks", "exercises.topics.lora", "exercises.checks", "lora", "quant", "grading.judge", "grading.remote"):
    try:
        loot += f" sentinel-58008 {importlib.import_module('lora_lab.' + name)}"
    except ImportError:
        pass
"""),
    Attack("solutions imported past the guard", """
import sys, importlib.util, os
sys.meta_path[:] = [each for each in sys.meta_path if "OtherRooms" not in type(each).__name__]
loot = ""
for name in ("exercises.tasks", "lora", "quant", "grading.judge"):
    try:
        sys.modules.pop("lora_lab.exercises", None)
        loot += f" sentinel-58008 {importlib.import_module('lora_lab.' + name)}"
    except ImportError:
        pass
from lora_lab.exercises import check
""", keeps=False),
    Attack("network", """
import socket
loot = ""
for address in (("1.1.1.1", 53), ("8.8.8.8", 53), ("169.254.169.254", 80)):
    try:
        socket.create_connection(address, 2)
        loot += f" sentinel-58008 {address}"
    except OSError:
        pass
try:
    loot += " sentinel-58008 " + socket.gethostbyname("example.org")
except OSError:
    pass
"""),
    Attack("loopback", """
import socket
loot = ""
for port in range(58008, 58028):
    try:
        socket.create_connection(("127.0.0.1", port), 2)
        loot = "sentinel-58008"
    except OSError:
        pass
"""),
    Attack("sockets of this machine", """
import socket
loot = ""
for name in ("\\0sentinel", "/run/docker.sock", "/var/run/docker.sock", "/run/systemd/private"):
    try:
        socket.socket(socket.AF_UNIX).connect(name)
        loot += " sentinel-58008" + name
    except OSError:
        pass
"""),
    Attack("a listener for the next submission", """
import os, socket
server = socket.socket(socket.AF_UNIX)
server.bind("\\0next")
server.listen()
port = socket.create_server(("127.0.0.1", 0))
loot = ""
try:
    open("/tmp/left", "x").write("a")
    open("/dev/shm/left", "x").write("a")
except FileExistsError:
    loot = "sentinel-58008"
"""),
    Attack("kernel keys and shared memory for the next submission", """
import ctypes
libc, loot = ctypes.CDLL(None, use_errno=True), ""
for ring in (-3, -4, -5):
    if libc.syscall(250, 10, ring, b"user", b"left", 0) > 0:
        loot = "sentinel-58008 key"
for ring in (-3, -4, -5):
    libc.syscall(248, b"user", b"left", b"data", 4, ring)
if libc.shmget(58008, 4096, 0o666) >= 0:
    loot = "sentinel-58008 shared memory"
libc.shmget(58008, 4096, 0o1666)
libc.msgget(58008, 0o1666)
"""),
    Attack("more rights", """
import ctypes, os
libc, loot = ctypes.CDLL(None, use_errno=True), ""
for call in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0]), lambda: os.chroot("/tmp"), lambda: os.nice(-5),
             lambda: os.mknod("/tmp/disk", 0o60600, os.makedev(254, 0))):
    try:
        call()
        loot += "sentinel-58008 "
    except OSError:
        pass
for flags in (0x10000000, 0x10020000, 0x20000, 0x40000000):
    if libc.unshare(flags) == 0:
        loot += f"sentinel-58008 unshared {flags:x}"
if libc.umount2(b"/proc", 2) == 0 or libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0:
    loot += "sentinel-58008 mounted"
"""),
    Attack("limits raised", """
import resource
loot = ""
for what in (resource.RLIMIT_CPU, resource.RLIMIT_AS, resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):
    try:
        resource.setrlimit(what, (resource.RLIM_INFINITY,) * 2)
        loot += f"sentinel-58008 {what}"
    except (ValueError, OSError):
        pass
"""),
    Attack("library overwritten", """
import glob, os, lora_lab, lora_lab.lowrank
loot = ""
for path in (lora_lab.__file__, lora_lab.lowrank.__file__, torch.__file__, "/python/bin/python3.11", "/course/lora_lab/grading/worker.py"):
    try:
        open(path, "a").write("raise SystemExit")
        loot += " sentinel-58008 " + path
    except OSError:
        pass
for folder in ("/", "/course", "/packages", "/python", "/dev", "/proc", "/usr/lib", os.path.dirname(lora_lab.__file__)):
    try:
        open(folder + "/sitecustomize.py", "w").write("raise SystemExit")
        loot += " sentinel-58008 " + folder
    except OSError:
        pass
"""),
    Attack("the terminal", """
import fcntl, os, termios
loot = ""
for name in ("/dev/tty", "/dev/console", "/dev/pts/0"):
    try:
        fd = os.open(name, os.O_RDWR)
        fcntl.ioctl(fd, termios.TIOCSTI, b"x")
        loot += " sentinel-58008 " + name
    except OSError:
        pass
"""),
    Attack("open files of the server", """
import os
loot = ""
for fd in set(range(3, 256)) - {3}:
    try:
        os.fstat(fd)
        loot += f" sentinel-58008 fd {fd}"
    except OSError:
        pass
"""),
    Attack("shells and other programs", """
import os, shutil, subprocess
loot = ""
for name in ("sh", "bash", "setpriv", "unshare", "gdb", "mount", "su", "sudo"):
    try:
        done = subprocess.run([shutil.which(name) or f"/bin/{name}", "--version"], capture_output=True, timeout=5)
        loot += f" ran {name}"
    except Exception:
        pass
loot = "sentinel-58008" * any(name in loot for name in ("sh", "gdb", "su"))
"""),
    Attack("magic lines", "%%bash\nrm -rf / ; cat /etc/passwd", last="!rm -rf /\n%run /etc/passwd\n%pip install requests\n"),
]  # fmt: skip
