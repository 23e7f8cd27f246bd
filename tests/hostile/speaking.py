"""Attacks on the pipe: a worker that does not keep to the rules."""

from tests.hostile.attack import Attack

_SEND = """
import json, os, struct
def send(header, blob=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    os.write(3, struct.pack("<II", len(text) if length is None else length, len(blob)) + text + blob)
"""
_SAFE = """
def safe(**tensors):
    text = json.dumps(tensors).encode()
    return struct.pack("<Q", len(text)) + text + bytes(64)
"""


def _instead(answer: str, name: str, first: str = "") -> Attack:
    """The task's function answers for the worker, and waits: what it sends is read as its result."""
    last = f"{_SEND}{_SAFE}{first}\ndef hostile_doubled(x):\n    {answer}\n    import time; time.sleep(1000)\n"
    return Attack(name, last=last, keeps=False, wall=5)


SPEAKING = [
    Attack("garbage on the pipe", last="import os\nos.write(3, os.urandom(10**4))", keeps=False),
    _instead("os.write(3, os.urandom(10**4))", "garbage as an answer"),
    _instead("send(b'', length=2**32 - 1)", "a message of 4 GB"),
    _instead("send(b'[' * 10**6)", "a million brackets"),
    _instead("send(b'{\"value\": ' + b'[' * 900 + b']' * 900 + b', \"live\": [], \"call\": 0}')", "nested JSON"),
    _instead("send({'value': ['list', [1] * 10**6], 'live': [], 'call': 0})", "a million numbers"),
    _instead("send(b'{\"value\": ' + b'9' * 10**6 + b'}')", "a number of a million digits"),
    _instead("send({'value': ['int', 'f' * 10**6 * 7], 'live': [], 'call': 0})", "a larger number"),
    _instead("import pickle; send(pickle.dumps(os.system))", "a pickle"),
    _instead("send({'value': ['tensor', '0', '', None], 'live': [], 'call': 0}, safe(**{'0': "
             "{'dtype': 'F32', 'shape': [2**40], 'data_offsets': [0, 64]}}))", "a tensor larger than its bytes"),
    _instead("send({'value': ['tensor', '0', '', None], 'live': [], 'call': 0}, safe(**{'0': "
             "{'dtype': 'F32', 'shape': [3, 5], 'data_offsets': [0, 10**12]}}))", "a tensor beyond its file"),
    _instead("send({'value': ['tensor', '0', '', None], 'live': [], 'call': 0}, struct.pack('<Q', 2**60))",
             "a tensor file without an end"),
    _instead("send({'value': ['tensor', '0', 'ng', None], 'live': ['0'], 'call': 0}, safe(**{'0': "
             "{'dtype': 'I64', 'shape': [8], 'data_offsets': [0, 64]}}))", "a gradient through whole numbers"),
    _instead("send({'value': ['tensor', '0', 'g', '0'], 'live': ['0', '1', 5, None], 'call': 0}, safe(**{'0': "
             "{'dtype': 'F32', 'shape': [16], 'data_offsets': [0, 64]}}))", "gradients of tensors that are not there"),
    _instead("send({'value': ['same', 10**9], 'live': [], 'call': 0})", "an argument that was not given"),
    _instead("send({'value': ['same', -1], 'live': [], 'call': 0, 'changes': [[0, ['same', 0]]]})", "an argument in itself"),
    _instead("send({'value': 1, 'live': [], 'call': 0, 'changes': [[1, ['dict', []]], ['a', 1], 7]})", "changes that fit nothing"),
    _instead("send({'value': ['module', 'Linear', [10**9, 10**9], True, [], []], 'live': [], 'call': 0})", "a module to be built"),
    _instead("send({'value': ['handle', 0, 'Tensor', ['__class__', 'call', 3]], 'live': [], 'call': 0})", "an object that can do more"),
    _instead("send({'value': ['handle', 'a', [], {}], 'live': [], 'call': 0})", "a handle of nothing"),
    _instead("send({'value': ['namespace', [['__class__', 1], [[], 2]]], 'live': [], 'call': 0})", "a namespace with other names"),
    _instead("send({'value': ['dict', [[['list', []], 1]]], 'live': [], 'call': 0})", "a dictionary with a list for a key"),
    _instead("send({'value': ['device', 'cuda:99'], 'live': {'a': 1}, 'call': []})", "a call with no number"),
    _instead("send({'value': ['__init__', 1]})", "a kind of value that is a method"),
    _instead("send({'value': ['count', 1]})\n    send({'value': ['value', 1]})", "a kind of value that is an attribute"),
    _instead("send({'error': {'type': 'Wrong', 'message': ['a'], 'line': {}, 'source': 7}})", "an error that is none"),
    _instead("send({'error': 1})", "an error without words"),
    _instead("send([1, 2])", "a list for a message"),
    _instead("send({})", "an empty message"),
    _instead("send({'callback': 10**9, 'args': ['list', []], 'kwargs': ['dict', []]})", "a function that was not given"),
    _instead("send({'callback': 0, 'args': 7, 'kwargs': ['list', [1]]})", "a function called with no list"),
    _instead("[send({'cell': 10**9}) for _ in range(10**6)]", "a million cells"),
    _instead("send({'cell': 'many'}); send({'value': True})", "a cell that is no number"),
    _instead("os.write(3, b'x'); time.sleep(3); os.write(3, b'x')", "one byte at a time", "import time"),
    _instead("os.close(3)", "the pipe closed"),
    Attack("the pipe shut in one direction", last="import socket\nsocket.socket(fileno=3).shutdown(socket.SHUT_RD)", keeps=False),
    Attack("answers sent before they are asked for", last=_SEND + """
for _ in range(20):
    send({"value": True, "empty": False, "live": [], "call": 0, "errors": []})
""", keeps=False),
    Attack("descriptors sent over the pipe", last="""
import os, socket
pipe = socket.socket(fileno=os.dup(3))
def hostile_half(n):
    socket.send_fds(pipe, [b"\\x02"], [0] * 100)
    return n / 2
""", keeps=False),
    Attack("gradients of another shape", last="""
class Odd(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x): return x * 2
    @staticmethod
    def backward(ctx, g): return g[:1]
hostile_doubled = lambda x: Odd.apply(x)
""", keeps=False),
    Attack("the worker rewritten", """
import gc, sys
for name, module in list(sys.modules.items()):
    if name.startswith("lora_lab.grading"):
        for key, value in list(vars(module).items()):
            if isinstance(value, type) and key in ("Encoder", "Decoder"):
                value.node = value.tensor = lambda *_: True
""", keeps=False),
    Attack("json and safetensors patched", """
import json, safetensors.torch
json.dumps = lambda *_, **__: "{}"
safetensors.torch.save = lambda *_: b"x" * 10**6
""", keeps=False),
    Attack("values nested in themselves", last="""
knot = []
knot.append(knot)
hostile_doubled = lambda x: knot
hostile_half = lambda n: {"a": knot}
deep = []
for _ in range(10**5):
    deep = [deep]
hostile_layer = lambda r: deep
""", keeps=False),
    Attack("values too large to send", last="""
hostile_doubled = lambda x: torch.zeros(2**25)
hostile_half = lambda n: "x" * 10**8
hostile_layer = lambda r: list(range(10**6))
""", keeps=False),
    Attack("numbers without a measure", last="""
hostile_doubled = lambda x: torch.full((3, 5), float("nan"))
hostile_half = lambda n: 10 ** 10**6
hostile_layer = lambda r: float("inf")
""", keeps=False),
]  # fmt: skip
