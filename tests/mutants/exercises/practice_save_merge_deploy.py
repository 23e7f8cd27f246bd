"""Answers to exercises 14: wrong ones with their diagnosis, and right ones written otherwise."""

from tests.mutants.exercises.answer import Answer

_STACKED = """def stacked(adapters, weights):
    A = torch.cat([A for A, _, _ in adapters])
    B = torch.cat([w * s * B for (_, B, s), w in zip(adapters, weights)], dim=1)
    return A, B
"""
_TENSORS = """import json

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "U8": torch.uint8}


def tensors_in(blob):
    n = int.from_bytes(blob[:8], "little")
    header = json.loads(blob[8 : 8 + n])
    data = blob[8 + n :]
    tensors = {}
    for name, about in header.items():
        if name == "__metadata__":
            continue
        begin, end = about["data_offsets"]
        flat = torch.frombuffer(bytearray(data[begin:end]), dtype=DTYPES[about["dtype"]])
        tensors[name] = flat.view(about["shape"])
    return tensors
"""
_MERGED = """def merged_into_codes(codes, absmax, levels, update):
    stored = levels[codes.long()] * absmax[:, None]
    merged = stored + update
    constants = merged.abs().amax(dim=1)
    scaled = merged / constants[:, None]
    again = (scaled[..., None] - levels).abs().argmin(-1).to(torch.uint8)
    moved = levels[again.long()] * constants[:, None] - stored
    share = ((moved * update).sum() / (update * update).sum()).item()
    return again, constants, share
"""
_BITS = """def bits_for(sizes, errors, budget):
    choices = [0] * len(sizes)
    while True:
        best, spent = None, sum(size[j] for size, j in zip(sizes, choices))
        for i, now in enumerate(choices):
            for j in range(now + 1, 4):
                more = sizes[i][j] - sizes[i][now]
                gain = (errors[i][now] - errors[i][j]) / more
                if spent + more <= budget and gain > 0 and (best is None or gain > best[0]):
                    best = (gain, i, j)
        if best is None:
            return choices
        choices[best[1]] = best[2]
"""
_OF = {"stacked": _STACKED, "tensors_in": _TENSORS, "merged_into_codes": _MERGED, "bits_for": _BITS}


def _changed(task: str, *changes: tuple[str, str], says: str = "") -> Answer:
    code = _OF[task]
    for before, after in changes:
        assert code.count(before) == 1, before
        code = code.replace(before, after)
    return Answer(task=task, code=code, says=says)


def _stacked(*changes: tuple[str, str], says: str) -> Answer:
    return _changed("stacked", *changes, says=says)


def _tensors(*changes: tuple[str, str], says: str) -> Answer:
    return _changed("tensors_in", *changes, says=says)


def _merged(*changes: tuple[str, str], says: str) -> Answer:
    return _changed("merged_into_codes", *changes, says=says)


def _bits(*lines: str, says: str = "") -> Answer:
    code = "def bits_for(sizes, errors, budget):\n" + "".join(f"    {line}\n" for line in lines)
    return Answer(task="bits_for", code=code, says=says)


_SHARE = "share = ((moved * update).sum() / (update * update).sum()).item()"
_FIT = "fits = [j for j in range(4) if sum(size[j] for size in sizes) <= budget]"

ANSWERS = [
    _stacked(("torch.cat([A for A, _, _ in adapters])", "sum(w * A for (A, _, _), w in zip(adapters, weights))"),
             ("torch.cat([w * s * B for (_, B, s), w in zip(adapters, weights)], dim=1)",
            "sum(s * B for _, B, s in adapters)"),
             says="the others' A as well"),
    _stacked(("w * s * B", "w * B"), says="own scale s is missing"),
    _stacked(("w * s * B", "s * B"), says="the weights are missing"),
    _stacked(("w * s * B", "B"), says="weights and scales are missing"),
    _stacked(("[A for A, _, _ in adapters]", "[w * A for (A, _, _), w in zip(adapters, weights)]"),
             says="the weight is in A and in B"),
    _stacked(("[A for A, _, _ in adapters]", "[abs(w * s) ** 0.5 * A for (A, _, s), w in zip(adapters, weights)]"),
             ("w * s * B", "abs(w * s) ** 0.5 * B"), says="lost its sign"),
    _stacked(("[A for A, _, _ in adapters]", "[(w * s) ** 0.5 * A if w > 0 else A * math.nan for (A, _, s), w in "
              "zip(adapters, weights)]"), says="nan"),
    _stacked((", dim=1)", ")"), says="B has the shape"),
    _stacked(("w * s * B", "w * s / len(adapters) * B"), says="divided by the number of adapters"),
    _stacked(("zip(adapters, weights)]", "list(zip(adapters, weights))[::-1]]"), says="another order"),
    _stacked(("return A, B", "return B, A"), says="A first, then B"),
    _tensors(("data[begin:end]", "blob[begin:end]"), says="from the beginning of the file"),
    _tensors(("data = blob[8 + n :]", "data = blob[8:]"), says="and yours from 8"),
    _tensors(('"little"', '"big"'), says="the least comes first"),
    _tensors(("data = blob[8 + n :]", "data = blob[n:]"), says="not at n"),
    _tensors(("        begin, end = about",
            "        at = sum(t.nbytes for t in tensors.values())\n        begin, end = about"),
             ("data[begin:end]", "data[at : at + end - begin]"), says="at its own data_offsets"),
    _tensors((".view(about[\"shape\"])", ""), says="has the shape"),
    _tensors(('"BF16": torch.bfloat16', '"BF16": torch.float16'), says="no float16"),
    _tensors(("tensors[name] = flat", "tensors[name] = flat.float()"), ("flat.float().view", "flat.float().view"),
             says="in the file"),
    _tensors(("            continue\n", "            tensors[name] = torch.zeros(1)\n            continue\n"),
             says="a note for people"),
    _tensors(("    return tensors", "    return list(tensors.values())"), says="wanted a dictionary"),
    _merged(("merged.abs().amax(dim=1)", "absmax"), says="they are the old ones"),
    _merged(("merged.abs().amax(dim=1)", "merged.amax(dim=1)"), says="with its sign"),
    _merged(("merged.abs().amax(dim=1)", "merged.abs().max().expand(len(merged))"), says="each has its own"),
    _merged(("scaled = merged / constants[:, None]", "scaled = merged / absmax[:, None]"), says="by the old constants"),
    _merged(("scaled = merged / constants[:, None]", "scaled = merged"), says="is not divided by its block's constant"),
    _merged(("scaled = merged / constants[:, None]", "scaled = update / constants[:, None]"), says="the update alone"),
    _merged(("levels).abs().argmin(-1)", "levels).argmin(-1)"), says="take distances"),
    _merged(("(scaled[..., None] - levels).abs().argmin(-1)", "torch.searchsorted(levels, scaled).clamp(max=15)"),
            says="the next level above"),
    _merged((".argmin(-1).to(torch.uint8)", ".argmin(-1)"), says="wanted uint8"),
    _merged((_SHARE, "share = (again != codes).float().mean().item()"), says="share of codes that changed"),
    _merged((_SHARE, "share = (moved.norm() / update.norm()).item()"), says="a ratio of lengths"),
    _merged((_SHARE, "share = torch.cosine_similarity(moved.flatten(), update.flatten(), 0).item()"),
             says="the cosine"),
    _merged((_SHARE, "share = (1 - (merged - stored - moved).norm() / update.norm()).item()"),
             says="length of the error"),
    _merged(("constants[:, None] - stored", "constants[:, None] - merged"), says="the old restored weight"),
    _merged(("constants[:, None] - stored", "absmax[:, None] - stored"), says="with the old constants: with the new"),
    _merged((".item()", ""), says="wanted a plain number"),
    _bits("return [0] * len(sizes)", says="no better than the best single format"),
    _bits(_FIT, "return [max(fits)] * len(sizes)", says="no better than the best single format"),
    _bits("return [3] * len(sizes)", says="are allowed"),
    _bits("return [min(range(4), key=lambda j: e[j]) for e in errors]", says="are allowed"),
    _bits(_FIT, "return [4, 8] + [2] * (len(sizes) - 2)", says="no place in its layer's list"),
    _bits(_FIT, "return [max(fits)]", says="one for each of 12 layers"),
    _bits("return [1] + [0] * (len(sizes) - 1)", says="no better than the best single format"),
    _bits("errors[0][0] = 0.0", "return [0] * len(sizes)", says="changes errors"),
]  # fmt: skip

RIGHT = [
    Answer("stacked", '''def stacked(adapters, weights):
    rank, at = sum(len(A) for A, _, _ in adapters), 0
    A = torch.zeros(rank, adapters[0][0].shape[1])
    B = torch.zeros(adapters[0][1].shape[0], rank)
    for (a, b, s), w in zip(adapters, weights):
        A[at : at + len(a)], B[:, at : at + len(a)] = w * a, s * b
        at += len(a)
    return A, B
'''),
    Answer("stacked", '''def stacked(adapters, weights):
    pairs = [(abs(w * s) ** 0.5, w * s, A, B) for (A, B, s), w in zip(adapters, weights)]
    return (torch.vstack([root * A for root, _, A, _ in pairs]),
            torch.hstack([root * B * (1 if factor > 0 else -1) for root, factor, _, B in pairs]))
'''),
    _changed("tensors_in", ('int.from_bytes(blob[:8], "little")', "__import__('struct').unpack('<Q', blob[:8])[0]"),
             ("data[begin:end]", "data[slice(begin, end)]"), ("flat.view", "flat.clone().reshape")),
    Answer("tensors_in", '''def tensors_in(blob):
    from safetensors.torch import load
    return load(blob)
'''),
    _changed("merged_into_codes", ("(scaled[..., None] - levels).abs().argmin(-1).to(torch.uint8)",
                                   "torch.bucketize(scaled, (levels[1:] + levels[:-1]) / 2).byte()")),
    Answer("merged_into_codes", '''def merged_into_codes(codes, absmax, levels, update):
    old = torch.stack([levels[row.tolist()] * a for row, a in zip(codes, absmax)])
    new = old + update
    fresh = torch.linalg.vector_norm(new, ord=math.inf, dim=-1)
    points = levels[None, :] * fresh[:, None]
    picks = torch.cdist(new[..., None], points[:, :, None]).argmin(dim=-1)
    restored = torch.gather(points, 1, picks)
    energy = update.ravel().square().sum()
    return picks.to(torch.uint8), fresh, float(torch.dot((restored - old).ravel(), update.ravel()) / energy)
'''),
    _changed("bits_for"),
    _bits("table = [(0, 0.0, ())]", "for s, e in zip(sizes, errors):",
          "    ways = sorted((a + s[j], b + e[j], c + (j,)) for a, b, c in table for j in range(4) "
          "if a + s[j] <= budget)",
          "    table, least = [], math.inf", "    for way in ways:", "        if way[1] < least:",
          "            table.append(way)", "            least = way[1]", "return list(table[-1][2])"),
]  # fmt: skip
