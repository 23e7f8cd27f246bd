"""Attacks on the machine and on the run: what does not end, takes everything, or takes others with it."""

from tests.hostile.attack import Attack

BREAKING = [
    Attack("a loop that ignores interrupts", """
import signal
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
while True:
    try:
        while True:
            pass
    except BaseException:
        pass
"""),
    Attack("a loop in an answer", last="def hostile_doubled(x):\n    while True:\n        pass", keeps=False),
    Attack("a loop in C", "sum(range(10**13))"),
    Attack("a regular expression that hangs", "import re\nre.match('(a+)+$', 'a' * 60 + 'b')"),
    Attack("sleep", "import time\ntime.sleep(10**6)", wall=6, keeps=False),
    Attack("sleep in an answer", last="import time\ndef hostile_doubled(x):\n    time.sleep(10**6)", wall=6, keeps=False),
    Attack("waiting for input", "try:\n    input()\nexcept EOFError:\n    pass\n"),
    Attack("memory in one piece", "torch.zeros(2**40)"),
    Attack("memory bit by bit", "hoard = []\nwhile True:\n    hoard.append(b'x' * 10**7)\n", keeps=False),
    Attack("memory in an answer", last="hostile_half = lambda n: b'x' * 2**33", keeps=False),
    Attack("memory of many processes", """
import os, time
for _ in range(30):
    if not os.fork():
        hoard = []
        try:
            while True:
                hoard.append(b'x' * 10**8)
        except MemoryError:
            time.sleep(100)
while True:
    time.sleep(0.1)
""", wall=6, keeps=False),
    Attack("a fork bomb", """
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
""", keeps=False),
    Attack("threads", """
import threading, time
started = 0
try:
    while started < 10000:
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
        started += 1
except RuntimeError:
    pass
assert started < 100
"""),
    Attack("a daemon", """
import os, time
if not os.fork():
    os.setsid()
    if not os.fork():
        os.closerange(0, 100)
        while True:
            time.sleep(1)
    os._exit(0)
"""),
    Attack("a daemon that keeps the pipe and talks on", """
import os, time
if not os.fork():
    os.setsid()
    while True:
        time.sleep(0.2)
        os.write(3, b"\\x02\\0\\0\\0\\0\\0\\0\\0{}")
""", keeps=False),
    Attack("signals to everybody", """
import os, signal
for pid in [-1, 0, 1, os.getppid(), *range(2, 3000)]:
    for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM):
        try:
            if pid != os.getpid():
                os.kill(pid, number)
        except OSError:
            pass
""", keeps=False, wall=6),
    Attack("killing itself", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\nos.kill(os.getpid(), signal.SIGSTOP)"),
    Attack("200 MB of output", """
import os, sys
line = "x" * 10**6 + "\\n"
for _ in range(200):
    print(line)
    sys.stderr.write(line)
    os.write(1, line.encode())
"""),
    Attack("a full disk", """
for path in ("/tmp/big", "/dev/shm/big", "/tmp/more"):
    try:
        with open(path, "wb") as file:
            while True:
                file.write(bytes(10**7))
    except OSError:
        pass
"""),
    Attack("a million files", """
try:
    for number in range(10**6):
        open(f"/tmp/{number}", "w").close()
except OSError:
    pass
assert number < 10**5
"""),
    Attack("every descriptor", """
import os
kept = []
try:
    while True:
        kept.append(os.dup(0))
except OSError:
    pass
""", keeps=False),
    Attack("exit", "import os\nos._exit(0)"),
    Attack("exit in an answer", last="import os\nhostile_doubled = lambda x: os._exit(0)", keeps=False),
    Attack("exit as if done", "raise SystemExit(0)", last="import sys\nsys.exit()"),
    Attack("a crash", "import ctypes\nctypes.string_at(0)"),
    Attack("a crash in an answer", last="import ctypes\nhostile_doubled = lambda x: ctypes.string_at(0)", keeps=False),
    Attack("recursion without a limit", """
import sys
sys.setrecursionlimit(10**9)
def down(n):
    return [down(n + 1)]
down(0)
"""),
    Attack("every cell ends the process", "import os\nos._exit(1)", last="import os\nos.abort()"),
    Attack("a destructor that ends the process", last="""
import os
class Trap:
    def __del__(self): os._exit(0)
    def __call__(self, *_): return Trap()
hostile_doubled = Trap()
""", keeps=False),
    Attack("exit handlers and threads left behind", """
import atexit, threading, time
atexit.register(time.sleep, 10**6)
threading.Thread(target=time.sleep, args=(10**6,)).start()
"""),
    Attack("a generator without an end", last="""
def hostile_half(n):
    while True:
        yield n
class Endless:
    def __iter__(self): return iter(int, 1)
    def __len__(self): return 10**30
hostile_doubled = lambda x: Endless()
""", keeps=False),
    Attack("the check's function called without an end", last="""
class hostile_layer(hostile_layer):
    def mapped(self, items, function):
        while True:
            function(1)
""", keeps=False),
    Attack("the check's function called with nonsense", last="""
class hostile_layer(hostile_layer):
    def mapped(self, items, function):
        for each in ("a", None, [], torch.ones(3), self, lambda: 0):
            try:
                function(each)
            except Exception:
                pass
        try:
            function(1, 2, a=3)
        except Exception:
            pass
        return [function(item) for item in items]
"""),
]  # fmt: skip
