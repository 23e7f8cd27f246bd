"""Attacks that a second reader thought of: on the pipe, on the kernel, and by values that are slow to look at."""

from tests.hostile.attack import Attack
from tests.hostile.speaking import _SAFE, _SEND, _instead

_CALL = """
import ctypes, os
libc, loot = ctypes.CDLL(None, use_errno=True), ""
"""


def _tensor(name: str, dtype: str, shape: str, length: int = 64) -> Attack:
    entry = f"{{'dtype': '{dtype}', 'shape': {shape}, 'data_offsets': [0, {length}]}}"
    sent = "{'value': ['tensor', '0', '', None], 'live': [], 'call': 0}"
    return _instead(f"send({sent}, safe(**{{'0': {entry}}}))", name)


def _value(name: str, node: str) -> Attack:
    return _instead(f"send({{'value': {node}, 'live': [], 'call': 0}})", name)


SECOND = [
    Attack("another thread that answers first", _SEND + """
import threading, time
def chatter():
    while True:
        send({"value": 0.5, "empty": False, "live": [], "call": 0, "errors": []})
        time.sleep(0.0005)
threading.Thread(target=chatter, daemon=True).start()
""", keeps=False, wall=6),
    Attack("another thread that sends half a message", _SEND + """
import threading, time
def chatter():
    time.sleep(0.05)
    os.write(3, struct.pack("<II", 1000, 0) + b"{")
threading.Thread(target=chatter, daemon=True).start()
""", keeps=False, wall=6),
    _tensor("a tensor of negative size", "F32", "[-4, -4]"),
    _tensor("a tensor of 2**63 rows", "F32", "[2**63, 0]", 0),
    _tensor("a tensor of no dtype", "NaN", "[16]"),
    _tensor("a tensor of eight-bit floats", "F8_E4M3", "[3, 5]", 15),
    _tensor("a tensor of truth values that are none", "BOOL", "[64]"),
    _tensor("a tensor of fifty dimensions", "F32", "[1] * 50 + [16]"),
    _value("a dictionary whose keys all fall into one place",
           "['dict', [[['int', format(k * (2**61 - 1), 'x')], 0] for k in range(2**40, 2**40 + 60000)]]"),
    _value("a whole number with a sign, blanks and bars", "['int', ' -_1_ ']"),
    _value("a handle that was never given", "['handle', 10**6, 'Tensor', ['call', 'list', 'len', 'item']]"),
    _value("a handle whose number is a truth value", "['handle', True, 'float', ['call']]"),
    _value("a dictionary with a number that is none for a key", "['dict', [[float('nan'), 1], [float('nan'), 2]]]"),
    _value("a tuple in a tuple, forty deep", "eval('[\"tuple\", [' * 45 + '1' + ']]' * 45)"),
    _value("an argument of an argument", "['same', 2**64]"),
    _instead("send(b'{\"value\": 1e999, \"value\": -1e999, \"live\": [], \"call\": 1e999}')", "numbers beyond all numbers"),
    _instead("send({'value': 1, 'live': ['0'] * 10**5, 'call': 2**63}, safe(**{'0': "
             "{'dtype': 'F32', 'shape': [16], 'data_offsets': [0, 64]}}))", "a gradient through one tensor many times"),
    Attack("a function called with keys that are no names", last=_SEND + """
class hostile_layer(hostile_layer):
    def mapped(self, items, function):
        send({"callback": 0, "args": ["list", [1]], "kwargs": ["dict", [[1, 2], [["tuple", []], 3]]]})
        time.sleep(1000)
import time
""", keeps=False, wall=5),
    Attack("an attribute that never comes", last="""
class hostile_layer(hostile_layer):
    @property
    def scaling(self):
        while True: pass
    @scaling.setter
    def scaling(self, value): pass
""", keeps=False),
    Attack("an attribute that asks for itself", last="""
class hostile_layer(hostile_layer):
    def __getattr__(self, name):
        return getattr(self, name + "_")
    def state_dict(self): return self.more
""", keeps=False),
    Attack("a state without an end", last="""
import itertools
class hostile_layer(hostile_layer):
    def state_dict(self): return itertools.count()
""", keeps=False),
    Attack("a class that says it is another, and hangs", last="""
class Lying:
    @property
    def __class__(self):
        while True: pass
hostile_doubled = lambda x: Lying()
hostile_half = Lying()
""", keeps=False),
    Attack("a tensor that hangs when it is looked at", last="""
class Slow(torch.Tensor):
    @classmethod
    def __torch_function__(cls, *_, **__):
        while True: pass
hostile_doubled = lambda x: (2 * x.detach()).as_subclass(Slow)
""", keeps=False),
    Attack("memory that belongs to no process", _CALL + """
import mmap
held = []
try:
    for k in range(2):
        fd = os.memfd_create(f"m{k}")
        os.write(fd, bytes(60 * 2**20))
        held.append(fd)
    loot += "sentinel-58008 memfd"
except OSError:
    pass
try:
    whole = mmap.mmap(-1, 2**30)
    loot += "sentinel-58008 shared"
except OSError:
    pass
try:
    mmap.mmap(os.open("/dev/zero", os.O_RDWR), 2**28)
    loot += "sentinel-58008 zero"
except OSError:
    pass
if libc.shmget(0, 2**28, 0o1666) >= 0:
    loot += "sentinel-58008 segment"
"""),
    Attack("newer calls of the kernel", _CALL + """
import platform
x86 = platform.machine() == "x86_64"
calls = {"bpf": (321 if x86 else 280, 5, 0, 0), "fsopen": (430, b"tmpfs", 0, 0), "open_tree": (428, -100, b"/", 1),
         "io_uring": (425, 8, ctypes.create_string_buffer(256), 0), "userfaultfd": (323 if x86 else 282, 1, 0, 0),
         "keyring": (250 if x86 else 219, 0, -3, 1), "setns": (308 if x86 else 268, 0, 0, 0)}
for name, call in calls.items():
    if libc.syscall(*call) >= 0:
        loot += f"sentinel-58008 {name} "
for pid in range(1, 60):
    fd = libc.syscall(434, pid, 0)
    if fd >= 0 and pid != os.getpid():
        for other in range(64):
            if libc.syscall(438, fd, other, 0) >= 0:
                loot += f"sentinel-58008 descriptor {other} of {pid} "
"""),
    Attack("children that nobody buries", """
import os
for _ in range(2000):
    try:
        if not os.fork():
            os._exit(0)
    except OSError:
        break
""", keeps=False),
    Attack("pipes full of bytes", """
import fcntl, os
held = []
try:
    while True:
        a, b = os.pipe()
        held += [a, b]
        try:
            fcntl.fcntl(b, 1031, 2**20)
        except OSError:
            pass
        os.set_blocking(b, False)
        os.write(b, bytes(2**20))
except OSError:
    for fd in held:
        os.close(fd)
"""),
    Attack("names and places of this machine", """
import glob, os, sys
texts = [os.uname().nodename, str(sys.path), str(dict(os.environ)), str(sys.argv), str(os.__file__)]
for path in ("/proc/self/mountinfo", "/proc/self/cmdline", "/proc/1/cmdline", "/etc/hostname", "/etc/machine-id", "/etc/hosts",
             "/sys/class/dmi/id/product_uuid", "/etc/resolv.conf", "/proc/net/tcp", "/proc/keys"):
    try:
        texts.append(open(path).read())
    except OSError:
        pass
loot = "sentinel-58008" * any("sentinel" in each or "/home/" in each for each in texts)
loot += "sentinel-58008 accounts" * bool(glob.glob("/etc/passwd") or glob.glob("/sys/class/net/*"))
"""),
    Attack("the interpreter's own files", """
import os, sys, sysconfig
loot = ""
for folder in {*sys.path, sysconfig.get_path("stdlib"), os.path.dirname(torch.__file__), "/etc", "/usr", "/dev", "/packages"}:
    try:
        with open(f"{folder}/usercustomize.py", "w") as file:
            file.write("raise SystemExit")
        loot += f"sentinel-58008 {folder} "
    except OSError:
        pass
try:
    os.symlink("/etc", "/dev/shm/etc")
    os.link("/dev/null", "/tmp/null")
    os.chmod("/python", 0o777)
    loot += "sentinel-58008 mode"
except OSError:
    pass
"""),
    Attack("words that a terminal or a page obeys", last="""
class Words(Exception): pass
bad = "\\x1b]0;owned\\x07\\x1b[2J\\r\\n=cmd|'/C calc'!A0 <img src=x onerror=alert(1)> \\u202e\\u2066\\u200f\\x9b2J"
def hostile_doubled(x): raise Words(bad)
def hostile_half(n): raise type(bad, (Exception,), {})(bad)
def hostile_layer(r): assert False, bad
""", keeps=False),
    Attack("the worker's way of looking replaced", _SEND + """
import gc
from lora_lab.grading.worker import Worker
Worker._do_call = lambda self, request, tensors, encoder: {"value": request["args"], "live": list(tensors), "call": -1}
Worker._do_get = lambda self, request, tensors, encoder: {"value": ["same", 0], "live": [], "call": 0}
Worker._do_len = lambda self, *_: {"value": 2**31}
""", keeps=False),
    Attack("changes of what was handed over, in a circle", last=f"{_SEND}{_SAFE}\nimport time" + """
def hostile_doubled(x):
    send({"value": ["same", 0], "live": [], "call": 0, "changes": [[k % 2, ["same", 1 - k % 2]] for k in range(10**4)]})
    time.sleep(1000)
""", keeps=False, wall=5),
]  # fmt: skip
