"""Answers to exercises 12: wrong ones with their diagnosis, and right ones written otherwise."""

from tests.mutants.exercises.answer import Answer


def _answer(task: str, signature: str, lines: tuple[str, ...], says: str, above: str = "") -> Answer:
    body = "".join(f"    {line}\n" for line in lines)
    return Answer(task=task, code=f"{above}def {task}({signature}):\n{body}", says=says)


def _loss(*lines: str, says: str = "") -> Answer:
    return _answer("loss_on_answers", "logits, ids, prompt, length", lines, says)


_PLACE = "place = torch.arange(ids.shape[1])"
_MASK = "mask = (place >= torch.tensor(prompt)[:, None]) & (place < torch.tensor(length)[:, None])"
_LABELS = "labels = ids.masked_fill(~mask, -100)"
_RETURN = "return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())"
_EACH = "each = -logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)"

_STRICT = """import json


def _no(word):
    raise ValueError(word)


def _once(pairs):
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError
    return dict(pairs)


def _load(text):
    return json.loads(text, parse_constant=_no, object_pairs_hook=_once)


def _same(a, b):
    if type(a) is dict and type(b) is dict:
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    if type(a) is list and type(b) is list:
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b))
    return isinstance(a, bool) == isinstance(b, bool) and a == b


"""
_JUDGED = (
    "try:",
    "    given = _load(answer)",
    "except ValueError:",
    '    return "not valid"',
    "if not isinstance(given, dict):",
    '    return "not valid"',
    'return "exact" if _same(given, _load(wanted)) else "valid"',
)


def _verdict(*changes: tuple[str, str], says: str = "") -> Answer:
    code = _answer("judged", "answer, wanted", _JUDGED, says, _STRICT).code
    for before, after in changes:
        assert code.count(before) == 1, before
        code = code.replace(before, after)
    return Answer(task="judged", code=code, says=says)


def _points(*lines: str, says: str = "") -> Answer:
    return _answer("points_lost", "before, after", lines, says)


_D = "d = torch.tensor([int(a) - int(b) for a, b in zip(before, after)]).double()"
_MEAN, _ERROR = "100 * d.mean().item()", "100 * d.std().item() / len(d) ** 0.5"


def _luck(*lines: str, says: str = "") -> Answer:
    return _answer("luck", "lost, won", lines, says)


_N = "n, least = lost + won, min(lost, won)"
_TAIL = "tail = sum(math.comb(n, k) for k in range(least + 1))"

ANSWERS = [
    _loss(_PLACE, _MASK, _LABELS, "return F.cross_entropy(logits.flatten(0, 1), labels.flatten())",
             says="at their own place"),
    _loss(_PLACE, _MASK, _LABELS, "return F.cross_entropy(logits[:, 1:].flatten(0, 1), labels[:, :-1].flatten())",
          says="moved the wrong way"),
    _loss(_PLACE, _MASK, _EACH, "mask = mask[:, 1:]", "return ((each * mask).sum(1) / mask.sum(1)).mean()",
          says="the mean of the examples' means"),
    _loss(_PLACE, "mask = place < torch.tensor(length)[:, None]", _LABELS, _RETURN, says="the prompt is in it too"),
    _loss(_PLACE, "mask = place >= torch.tensor(prompt)[:, None]", _LABELS, _RETURN, says="padding is in it"),
    _loss("labels = ids", _RETURN, says="prompt and padding are in it"),
    _loss(_PLACE, _MASK.replace("tensor(length)", "tensor(length).sub(1)"), _LABELS, _RETURN,
             says="does not learn to stop"),
    _loss(_PLACE, _MASK.replace(">=", ">"), _LABELS, _RETURN, says="the first answer token is left out"),
    _loss(_PLACE, _MASK, _EACH, "return (each * mask[:, :-1]).sum() / mask.sum()", says="one place late"),
    _loss(_PLACE, _MASK, _EACH, "return (each * mask[:, 1:]).sum()", says="it is the sum"),
    _loss(_PLACE, _MASK, _EACH, "return (each * mask[:, 1:]).mean()", says="only answer tokens count"),
    _loss(_PLACE, _MASK, _LABELS, _RETURN + ".item()", says="no gradient can flow"),
    _loss(_PLACE, _MASK, _LABELS, _RETURN.replace("logits", "logits.detach()"), says="no gradient flows back"),
    _loss("labels = ids.masked_fill(ids == ids.max(), -100)", _RETURN, says="go by place"),
    _loss(_PLACE, _MASK, _EACH, "return 1 - (-each[mask[:, 1:]]).exp().mean()", says="a mean of probabilities"),
    _verdict(("    given = _load(answer)", "    given = json.loads(answer, object_pairs_hook=_once)"),
             says="has no NaN"),
    _verdict(("    given = _load(answer)", "    given = json.loads(answer, parse_constant=_no)"), says="a field twice"),
    _verdict(("_same(given, _load(wanted))", "given == _load(wanted)"), says="true for 1 yours"),
    _verdict(("_same(x, y) for", "x == y for"), says="true for 1, in a list"),
    _verdict(("_same(given, _load(wanted))", "answer.strip() == wanted.strip()"),
             says="white space around and between"),
    _verdict(("_same(given, _load(wanted))", "_same(list(given.items()), list(_load(wanted).items()))"),
             says="the order of fields"),
    _verdict(("_load(answer)", '_load(answer[answer.find("{"):])'), says="a sentence before"),
    _verdict(('    if not isinstance(given, dict):\n        return "not valid"\n', ""),
             says="a list around the object"),
    _verdict(("_same(given, _load(wanted))", "all(given.get(k) == v for k, v in _load(wanted).items())"),
             says="one field more"),
    _verdict(("_same(given, _load(wanted))", "_same({k: str(v) for k, v in given.items()}, "
              "{k: str(v) for k, v in _load(wanted).items()})"), says=".0 for"),
    _verdict(("    except ValueError:\n", "    except KeyError:\n"), says="JSONDecodeError: catch it"),
    _verdict(("_load(answer)", "__import__('ast').literal_eval(answer)"),
             ("except ValueError", "except (ValueError, SyntaxError)"), says="JSON has double quotes"),
    _points(_D, f"return -{_MEAN}, {_ERROR}", says="before minus after"),
    _points(_D, f"return {_MEAN} / 100, {_ERROR} / 100", says="a point is a hundredth"),
    _points(_D, f"return 100 * (d == 1).double().mean().item(), {_ERROR}", says="takes away from the loss"),
    _points(_D, f"return {_MEAN}, 100 * d.std().item()", says="over the root of n"),
    _points(_D, f"return {_MEAN}, 100 * d.std(unbiased=False).item() / len(d) ** 0.5", says="divides by n − 1"),
    _points(_D, "n, p, q = len(d), sum(before) / len(d), sum(after) / len(d)",
            f"return {_MEAN}, 100 * math.sqrt(p * (1 - p) / n + q * (1 - q) / n)", says="of the same questions"),
    _points(_D, f"return {_MEAN}, 100 * d.std().item() / len(d)", says="not by n"),
    _points(_D, f"return {_MEAN}", says="alone, wanted the points lost"),
    _points(_D, f"return torch.tensor({_MEAN}), {_ERROR}", says="wanted a plain number"),
    _luck(_N, _TAIL, "return tail / 2**n", says="that is one tail"),
    _luck(_N, "return math.comb(n, least) / 2**n", says="this very split"),
    _luck(_N, _TAIL, "return 2 * tail / 2**n", says="is capped"),
    _luck(_N, _TAIL.replace("least + 1", "least"), "return min(1.0, 2 * tail / 2**n)", says="*more* uneven"),
    _luck(_N, "if n == 0:", "    return 1.0", "return math.erfc(abs(lost - won) / math.sqrt(2 * n))",
             says="normal curve"),
    _luck(_N, _TAIL, "return min(1.0, 2 * tail * 0.5**n)", says="too large for a float"),
    _luck("n = lost + won", "tail = sum(math.comb(n, k) for k in range(lost + 1))", "return min(1.0, 2 * tail / 2**n)",
          says="from the larger of the two"),
    _luck(_N, "half = sum(math.comb(n, k) * 0.5**n if n < 1000 else 0 for k in range(least + 1))",
          "return min(1.0, 2 * half)", says="becomes zero"),
    _luck(_N, _TAIL, "p = min(1.0, 2 * tail / 2**n)", says="yours gives None"),
]  # fmt: skip

RIGHT = [
    _loss("total, number = 0, 0", "for row, (a, b) in enumerate(zip(prompt, length)):",
          "    total = total + F.cross_entropy(logits[row, a - 1 : b - 1], ids[row, a:b], reduction='sum')",
          "    number += b - a", "return total / number"),
    _loss(_PLACE, _MASK, _EACH, "return each[mask[:, 1:]].mean()"),
    _verdict(),
    _verdict(("    given = _load(answer)", "    given = _load(answer.strip())"),
             ("_same(given, _load(wanted))", "_same(_load(wanted), given)")),
    _points(_D, f"return {_MEAN}, {_ERROR}"),
    _points("n = len(before)", "b = sum(x and not y for x, y in zip(before, after))",
            "c = sum(y and not x for x, y in zip(before, after))", "m = (b - c) / n",
            "return [100 * m, 100 * math.sqrt(((b + c) - n * m * m) / (n - 1) / n)]"),
    _luck("n = lost + won", "hits = sum(math.comb(n, k) for k in range(n + 1) if abs(n - 2 * k) >= abs(lost - won))",
          "return hits / 2**n"),
    _luck("from fractions import Fraction", "n = lost + won", "if lost == won:", "    return 1",
          "most = max(lost, won)", "tail = sum(Fraction(math.comb(n, k), 2**n) for k in range(most, n + 1))",
          "return float(2 * tail)"),
]  # fmt: skip
