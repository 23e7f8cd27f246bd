"""Answers to the tasks of notebook 07, from their words alone, by somebody who had not seen the checks."""

from tests.mutants.exercises.answer import cells

ANSWERS = cells("""
#: every piece is rounded up by itself
def peak_of_diary(diary):
    alive, now, most, names = [], 0, 0, []
    for what, name, size in diary:
        if what == "alloc":
            alive.append(name)
            now += size
        else:
            alive.remove(name)
            now -= size
        if now > most:
            most, names = now, alive
    return math.ceil(most / 512) * 512, sorted(names)
#: the first moment at which so much was alive
def peak_of_diary(diary):
    alive, now, most, names = [], 0, 0, []
    for what, name, size in diary:
        rounded = math.ceil(size / 512) * 512
        if what == "alloc":
            alive.append(name)
            now += rounded
        else:
            alive.remove(name)
            now -= rounded
        if now >= most:
            most, names = now, sorted(alive)
    return most, names
#: round the number of segments up
def best_segment(layers, enters, keeps):
    best = None
    for size in range(1, layers + 1):
        segments = layers // size
        needed = (segments - 1) * enters + size * keeps
        if best is None or needed <= best[1]:
            best = size, needed, (segments - 1) * size
    return best
#: count the layers of the others
def best_segment(layers, enters, keeps):
    best = None
    for size in range(1, layers + 1):
        segments = math.ceil(layers / size)
        needed = (segments - 1) * enters + size * keeps
        if best is None or needed <= best[1]:
            best = size, needed, layers - size
    return best
#: the mean of the chunks' means
def loss_in_chunks(head, hidden, labels, chunk):
    losses = []
    for start in range(0, len(labels), chunk):
        rows = labels[start:start + chunk]
        if (rows != -100).any():
            losses.append(F.cross_entropy(head(hidden[start:start + chunk]), rows))
    return sum(losses) / len(losses)
#: the mean over a chunk without a label is 0 / 0
def loss_in_chunks(head, hidden, labels, chunk):
    total, count = 0.0, 0
    for start in range(0, len(labels), chunk):
        rows = labels[start:start + chunk]
        counted = (rows != -100).sum()
        total = total + F.cross_entropy(head(hidden[start:start + chunk]), rows) * counted
        count += counted
    return total / count
#: The last chunk may be short
def loss_in_chunks(head, hidden, labels, chunk):
    total, count = 0.0, 0
    for start in range(0, len(labels) - chunk + 1, chunk):
        rows = labels[start:start + chunk]
        total = total + F.cross_entropy(head(hidden[start:start + chunk]), rows, reduction="sum")
        count += (rows != -100).sum()
    return total / count
#: still stands in them
def peak_of_diary(diary):
    alive, most, names = {}, 0, []
    for what, name, size in diary:
        alive[name] = alive.get(name, 0) + (1 if what == "alloc" else -1) * math.ceil(size / 512) * 512
        now = sum(alive.values())
        if now > most:
            most, names = now, sorted(alive)
    return most, names
#: a multiple of 512 stays as it is
def peak_of_diary(diary):
    alive, most, names = {}, 0, []
    for what, name, size in diary:
        if what == "alloc":
            alive[name] = (size // 512 + 1) * 512
        else:
            del alive[name]
        if sum(alive.values()) > most:
            most, names = sum(alive.values()), sorted(alive)
    return most, names
#: keeps the logits of earlier chunks
def loss_in_chunks(head, hidden, labels, chunk):
    logits = torch.cat([head(hidden[start:start + chunk]) for start in range(0, len(hidden), chunk)])
    return F.cross_entropy(logits, labels)
#: nothing is shifted here
def loss_in_chunks(head, hidden, labels, chunk):
    hidden, labels = hidden[:-1], labels[1:]
    total, count = 0.0, 0
    for start in range(0, len(labels), chunk):
        rows = labels[start:start + chunk]
        total = total + F.cross_entropy(head(hidden[start:start + chunk]), rows, reduction="sum")
        count += (rows != -100).sum()
    return total / count
#: counts for nothing
def loss_in_chunks(head, hidden, labels, chunk):
    total = 0.0
    words = torch.where(labels == -100, 0, labels)
    for start in range(0, len(labels), chunk):
        rows = words[start:start + chunk]
        total = total + F.cross_entropy(head(hidden[start:start + chunk]), rows, reduction="sum")
    return total / len(labels)
""")

RIGHT = cells("""
#:
def peak_of_diary(diary):
    alive, now, most, names = {}, 0, 0, []
    for what, name, size in diary:
        rounded = -(-size // 512) * 512
        if what == "alloc":
            alive[name] = rounded
            now += rounded
        else:
            del alive[name]
            now -= rounded
        if now > most:
            most, names = now, sorted(alive)
    return most, names
#:
def best_segment(layers, enters, keeps):
    best = None
    for size in range(1, layers + 1):
        segments = math.ceil(layers / size)
        needed = (segments - 1) * enters + size * keeps
        if best is None or needed <= best[1]:
            best = size, needed, (segments - 1) * size
    return best
#:
def loss_in_chunks(head, hidden, labels, chunk):
    total, count = 0.0, 0
    for start in range(0, len(labels), chunk):
        rows = labels[start:start + chunk]
        counted = int((rows != -100).sum())
        if counted:
            total = total + F.cross_entropy(head(hidden[start:start + chunk]), rows, reduction="sum")
            count += counted
    return total / count
""")
