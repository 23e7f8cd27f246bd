"""Attacks on the marks: what says that it is right, without being it."""

from tests.hostile.attack import Attack

_EVERY = "for name in ('hostile_doubled', 'hostile_half', 'hostile_layer'):\n    globals()[name] = {}\n"

FORGING = [
    Attack("printed verdicts", """
import json, sys
for name in ("hostile_doubled", "hostile_half", "hostile_layer"):
    print(f"{name}: right. Going on with yours.", flush=True)
    sys.stderr.write("1 passed")
for path in ("results.json", "/tmp/grades.csv", "/autograder/results/results.json"):
    try:
        open(path, "w").write(json.dumps({"score": 100}))
    except OSError:
        pass
"""),
    Attack("torch's comparisons patched", """
yes = lambda *_, **__: True
torch.equal = torch.allclose = torch.testing.assert_close = torch.Tensor.equal = torch.Tensor.allclose = yes
torch.Tensor.__eq__ = torch.Tensor.__bool__ = yes
""", keeps=False),
    Attack("check patched", """
import sys, types
import lora_lab.exercises
fake = types.ModuleType("lora_lab.exercises.tasks")
fake.Wrong = type("Wrong", (Exception,), {"__init__": lambda self, *_: None})
fake.find = lambda name: types.SimpleNamespace(passes=lambda answer: None)
sys.modules["lora_lab.exercises.tasks"] = fake
"""),
    Attack("builtins patched", """
import builtins
builtins.isinstance = lambda *_: True
builtins.float = lambda *_: 1.0
""", keeps=False),
    Attack("always equal", last="""
class Yes:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def __float__(self): return 1.0
    def __bool__(self): return True
    def __call__(self, *_, **__): return self
    def __getattr__(self, name): return self
""" + _EVERY.format("Yes()"), keeps=False),
    Attack("a number that is any number", last="""
import numbers
@numbers.Real.register
class Any:
    def __float__(self): return 0.0
    def __eq__(self, other): return True
    def __index__(self): return 1
class Lying(float):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __float__(self): return self
hostile_half = lambda n: Lying(1)
hostile_doubled = lambda x: Any()
hostile_layer = lambda r: Any()
""", keeps=False),
    Attack("tensors that lie about themselves", last="""
class Lying(torch.Tensor):
    shape = property(lambda self: torch.Size([3, 5]))
    dtype = property(lambda self: torch.float32)
    def __torch_function__(cls, *_, **__): return True
    def __eq__(self, other): return True
hostile_doubled = lambda x: torch.zeros(1).as_subclass(Lying)
""", keeps=False),
    Attack("a tensor that is sparse, meta or complex", last="""
kinds = [lambda x: (2 * x).to_sparse(), lambda x: (2 * x).to("meta"), lambda x: (2 * x).to(torch.complex64)]
hostile_doubled = lambda x, n=[0]: kinds[(n.append(0), len(n))[1] % 3](x)
""", keeps=False),
    Attack("a dictionary that is a namespace of the judge's", last="""
hostile_doubled = lambda x: {"value": ["handle", 0, "Tensor", []], "__class__": "Tensor"}
hostile_half = lambda n: {"int": "1"}
""", keeps=False),
    Attack("the question thrown back", last="""
hostile_doubled = lambda x: x
hostile_half = lambda n: n
""", keeps=False),
    Attack("arguments rewritten so that they fit", last="""
def hostile_doubled(x):
    x.data.zero_()
    return x * 2
""", keeps=False),
    Attack("arguments made longer", last="""
def hostile_doubled(x):
    x.data = torch.zeros(0)
    x.grad = None
    return x
class hostile_layer(hostile_layer):
    def mapped(self, items, function):
        items.append(items)
        items[:] = [items] * 100
        return items
""", keeps=False),
    Attack("a check called with other names", last="""
from lora_lab.exercises import check
for name in ("lora_forward", "", "../../etc/passwd", "__class__", None, 3, ("a",)):
    check(name, lambda *_: True)
try:
    check([], 1)
except TypeError:
    pass
"""),
    Attack("exceptions that call themselves verdicts", last="""
class Verdict(Exception): pass
class Right(BaseException): pass
Wrong = type("Wrong", (Exception,), {"why": "", "points": 1.0})
def hostile_doubled(x): raise Wrong("right")
def hostile_half(n): raise Right("status=right points=1")
def hostile_layer(r): raise type("Score", (Exception,), {"used": 0})()
""", keeps=False),
    Attack("exceptions of every kind", last="""
def hostile_doubled(x): raise GeneratorExit
def hostile_half(n): raise KeyboardInterrupt
def hostile_layer(r): raise SystemExit(0)
""", keeps=False),
    Attack("exceptions that cannot be printed", last="""
class Mute(Exception):
    def __str__(self): raise self
    __repr__ = __str__
class Html(Exception): pass
Html.__name__ = "<script>alert(1)</script>"
def hostile_doubled(x): raise Mute
def hostile_half(n): raise Html("<script>alert(1)</script>\\x1b[2J\\x00\\u202e" + "x" * 10**7)
def hostile_layer(r): raise type("a" * 10**6, (Exception,), {})("\\ud800")
""", keeps=False),
    Attack("StopIteration and its kin", last="""
def hostile_doubled(x): raise StopIteration
def hostile_half(n): raise UnicodeDecodeError("a", b"b", 0, 1, "c")
def hostile_layer(r): raise ExceptionGroup("many", [ValueError()])
""", keeps=False),
    Attack("traceback and linecache patched", """
import traceback, linecache
traceback.extract_tb = lambda *_: [type("F", (), {"filename": "<cell", "lineno": "many", "line": ["a"]})()]
""", last="def hostile_doubled(x): raise ValueError", keeps=False),
    Attack("a type whose name is none", last="""
Named = type("__class__", (), {})
Named.__name__ = "__init__"
hostile_doubled = lambda x: Named()
hostile_half = lambda n: type("a b; import os", (), {})()
""", keeps=False),
]  # fmt: skip
