"""Answers to exercise 07's tasks: wrong ones with their diagnosis, and right ones written otherwise."""

from tests.mutants.exercises.answer import Answer, cells

_DIARY = """
def peak_of_diary(diary):
    alive = {}
    most, names = 0, []
    for what, name, size in diary:
        if what == "alloc":
            alive[name] = math.ceil(size / 512) * 512
        else:
            del alive[name]
        if sum(alive.values()) > most:
            most, names = sum(alive.values()), sorted(alive)
    return most, names
"""
_SEGMENT = """
def best_segment(layers, enters, keeps):
    best = None
    for size in range(1, layers + 1):
        doors = math.ceil(layers / size) - 1
        needed = doors * enters + size * keeps
        twice = doors * size
        if best is None or needed <= best[1]:
            best = size, needed, twice
    return best
"""
_CHUNKS = """
def loss_in_chunks(head, hidden, labels, chunk):
    total, count = 0.0, 0
    for start in range(0, len(hidden), chunk):
        own = labels[start : start + chunk]
        total += F.cross_entropy(head(hidden[start : start + chunk]), own, reduction="sum")
        count += (own != -100).sum()
    return total / count
"""


def _changed(task: str, code: str, *pairs: tuple[str, str], says: str = "") -> Answer:
    for before, after in pairs:
        assert code.count(before) == 1, before
        code = code.replace(before, after)
    return Answer(task, code, says)


def _diary(before: str, after: str, says: str) -> Answer:
    return _changed("peak_of_diary", _DIARY, (before, after), says=says)


def _segment(before: str, after: str, says: str) -> Answer:
    return _changed("best_segment", _SEGMENT, (before, after), says=says)


def _chunks(before: str, after: str, says: str) -> Answer:
    return _changed("loss_in_chunks", _CHUNKS, (before, after), says=says)


ANSWERS = [
    _diary("math.ceil(size / 512) * 512", "size", "each piece is rounded up"),
    _diary("math.ceil(size / 512) * 512", "size // 512 * 512", "rounded *up*"),
    _diary("math.ceil(size / 512) * 512", "math.ceil(size / 512)", "bytes, and not pieces"),
    _diary("del alive[name]", "pass", "what is freed is no longer alive"),
    _diary("most, names = sum(alive.values()), sorted(alive)", "most, names = sum(alive.values()), alive.keys()",
     "must be a list of names"),
    _diary("most, names = sum(alive.values()), sorted(alive)", "most, names = sum(alive.values()), list(alive)",
     "they are to be sorted"),
    _diary("return most, names", "return most, sorted(alive)", "what is alive at the end"),
    _diary("return most, names", "return sum(alive.values()), names", "what is left at the end"),
    _diary("> most:", ">= most:", "the first moment"),
    _diary("return most, names", "return most, sorted({name for _, name, _ in diary})", "all that ever lived"),
    _diary("return most, names", "return most", "wanted most, names"),
    _diary("return most, names", "diary.clear()\n    return most, names", "your code changes diary"),
    _segment("math.ceil(layers / size) - 1", "math.ceil(layers / size)", "nothing is put aside for it"),
    _segment("math.ceil(layers / size) - 1", "layers // size - 1", "the last segment may be short"),
    _segment("math.ceil(layers / size) - 1", "layers / size - 1", "the last segment may be short"),
    _segment("needed <= best[1]", "needed < best[1]", "of equals the largest"),
    _segment("twice = doors * size", "twice = layers", "the last segment is not run again"),
    _segment("twice = doors * size", "twice = layers - size", "count the layers of the others"),
    _segment("twice = doors * size", "twice = doors", "those are segments"),
    _segment("range(1, layers + 1)", "[round(math.sqrt(layers))]", "the root of the number of layers"),
    _segment("doors * enters + size * keeps", "max(doors * enters, size * keeps)", "add the two"),
    _segment("doors * enters + size * keeps", "doors * enters + keeps", "each layer of the segment at work"),
    _segment("range(1, layers + 1)", "range(1, layers)", "another size needs fewer bytes"),
    _chunks('reduction="sum"', 'reduction="mean"', "means of chunks"),
    _chunks("return total / count", "return total", "that is the sum"),
    _chunks("return total / count", "return total / len(hidden)", "rows labelled -100 do not count"),
    _chunks("return total / count", "return total / math.ceil(len(hidden) / chunk)", "not by the number of chunks"),
    _chunks("range(0, len(hidden), chunk)", "range(0, len(hidden) - chunk + 1, chunk)", "The last chunk may be short"),
    *cells('''
#: add up sums
def loss_in_chunks(head, hidden, labels, chunk):
    means = []
    for start in range(0, len(hidden), chunk):
        own = labels[start : start + chunk]
        if (own != -100).any():
            means.append(F.cross_entropy(head(hidden[start : start + chunk]), own))
    return sum(means) / len(means)
#: `chunk` allows
def loss_in_chunks(head, hidden, labels, chunk):
    return F.cross_entropy(head(hidden), labels)
#: give it hidden[start
def loss_in_chunks(head, hidden, labels, chunk):
    return sum(F.cross_entropy(head(hidden[n]), labels[n]) for n in range(len(hidden))) / len(hidden)
#: your code changes labels
def loss_in_chunks(head, hidden, labels, chunk):
    total, count = 0.0, (labels != -100).sum()
    labels[labels == -100] = 0
    for start in range(0, len(hidden), chunk):
        total += F.cross_entropy(head(hidden[start : start + chunk]), labels[start : start + chunk], reduction="sum")
    return total / count
'''),
]  # fmt: skip

RIGHT = [
    *cells('''
#:
def peak_of_diary(diary):
    moments = [()]
    for what, name, size in diary:
        piece = (name, (size + 511) // 512 * 512)
        now = list(moments[-1])
        if what == "alloc":
            now.append(piece)
        else:
            now.remove(piece)
        moments.append(tuple(now))
    best = max(moments, key=lambda now: sum(size for _, size in now))
    return sum(size for _, size in best), sorted(name for name, _ in best)
#:
def peak_of_diary(diary):
    from collections import Counter
    alive, total, best = Counter(), 0, (0, [])
    for what, name, size in diary:
        change = -(-size // 512) * 512 * (1 if what == "alloc" else -1)
        total += change
        alive[name] += change
        if total > best[0]:
            best = (total, sorted(name for name, size in alive.items() if size))
    return [float(best[0]), tuple(best[1])]
#:
def best_segment(layers, enters, keeps):
    def needed(size):
        return (-(-layers // size) - 1) * enters + size * keeps
    size = min(range(layers, 0, -1), key=needed)
    return size, needed(size), (layers - 1) // size * size
#:
def best_segment(layers, enters, keeps):
    tried = []
    for size in range(1, layers + 1):
        starts = range(0, layers, size)
        tried.append((len(starts[:-1]) * enters + size * keeps, -size, starts[-1]))
    needed, size, twice = sorted(tried)[0]
    return -size, needed, twice
#:
def loss_in_chunks(head, hidden, labels, chunk):
    losses = []
    for rows, own in zip(hidden.split(chunk), labels.split(chunk)):
        logp = head(rows).log_softmax(-1)
        kept = own != -100
        losses.append(-logp[kept, own[kept]])
    return torch.cat(losses).mean().item()
#:
def loss_in_chunks(head, hidden, labels, chunk):
    kept = (labels != -100).nonzero().flatten()
    total = 0.0
    for places in kept.split(chunk):
        total += F.cross_entropy(head(hidden[places]), labels[places]).item() * len(places)
    return total / len(kept)
'''),
]  # fmt: skip
