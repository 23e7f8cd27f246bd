"""Answers to lesson 10's tasks: wrong ones with their diagnosis, and right ones written otherwise."""

from tests.mutants.exercises.answer import Answer


def _bits(body: str, says: str = "") -> Answer:
    return Answer(task="bits_per_parameter", code=f"def bits_per_parameter(block, group):\n    {body}\n", says=says)


def _quantize(
    says: str = "",
    mean: str = "absmax.mean()",
    groups: str = "(absmax - mean).view(-1, 256)",
    scale: str = "groups.abs().amax(1)",
    scaled: str = "groups / scale[:, None]",
    codes: str = "(scaled[..., None] - levels).abs().argmin(-1).flatten().to(torch.uint8)",
    out: str = "codes, scale, mean",
) -> Answer:
    lines = [f"mean = {mean}", f"groups = {groups}", f"scale = {scale}", f"scaled = {scaled}", f"codes = {codes}"]
    body = "\n    ".join([*lines, f"return {out}"])
    return Answer(task="double_quantize", code=f"def double_quantize(absmax, levels):\n    {body}\n", says=says)


def _restore(body: str, says: str = "") -> Answer:
    code = f"def restore_constants(codes, scale, mean, levels):\n    {body}\n"
    return Answer(task="restore_constants", code=code, says=says)


_WITH = "return 4 + 32 / block if group is None else "
_LEVEL, _SCALE = "levels[codes.int()]", "scale.repeat_interleave(256)"

ANSWERS = [
    _bits(
        "return 32 / block if group is None else 8 / block + 32 / (block * group)", "four bits of the code are missing"
    ),
    _bits("return 4 + 4 / block if group is None else 4 + 1 / block", "four bytes are 32 bits"),
    _bits("return 4 + 16 / block if group is None else 4 + 8 / block + 32 / (block * group)", "has 32 bits; 16 are"),
    _bits(_WITH + "4 + 8 / block", "constants of the constants are missing"),
    _bits(_WITH + "4 + 8 / block + 32 / group", "block · group weights"),
    _bits(_WITH + "4 + 40 / block", "block · group weights, not block"),
    _bits("return 4 + 32 / block", "8 bits, not 32"),
    _bits(_WITH + "4 + 8 / (block * group)", "each group 32"),
    _bits("if group is None:\n        return 4 + 32 / block", "does every case reach a return"),
    _bits("return (4 + 32 / block) / 8", "that is bytes"),
    _quantize("one number", mean="absmax.view(-1, 256).mean(1)", groups="absmax.view(-1, 256) - mean[:, None]"),
    _quantize("wanted", mean="torch.zeros(())"),
    _quantize("median", mean="absmax.median()"),
    _quantize("use abs()", scale="groups.amax(1)"),
    _quantize("first subtract the mean", scale="absmax.view(-1, 256).amax(1)"),
    _quantize(
        "not one for all",
        scale="groups.abs().amax()[None].repeat(1)",
        scaled="groups / scale",
        out="codes, scale[0], mean",
    ),
    _quantize("the spread", scale="groups.std(1)"),
    _quantize("after the mean is subtracted", scaled="absmax.view(-1, 256) / scale[:, None]"),
    _quantize("by the scale of the group first", scaled="groups"),
    _quantize("nothing is saved", codes="(scaled[..., None] - levels).abs().argmin(-1).flatten()"),
    _quantize("one for each constant", codes="(scaled[..., None] - levels).abs().argmin(-1).to(torch.uint8)"),
    _quantize("the numbers of levels", codes="levels[(scaled[..., None] - levels).abs().argmin(-1).flatten()]"),
    _quantize("is nearest", codes="((scaled + 1) * 127).round().clamp(0, 200).flatten().to(torch.uint8)"),
    _quantize("return codes, scale, mean", out="codes, scale"),
    _restore(f"return {_LEVEL} * {_SCALE}", "the mean is missing"),
    _restore(f"return {_LEVEL} + mean", "the scale is missing"),
    _restore(f"return ({_LEVEL} + mean) * {_SCALE}", "after the product"),
    _restore(f"return {_LEVEL} * scale.repeat(256) + mean", "not repeat"),
    _restore(f"return codes * {_SCALE} + mean", "look it up in levels"),
    _restore(f"return {_LEVEL} * {_SCALE} - mean", "add it here"),
    _restore(f"return {_LEVEL} / {_SCALE} + mean", "multiply here"),
    _restore(f"return ({_LEVEL}.view(-1, 256) * scale[:, None] + mean)", "one constant a code"),
]

RIGHT = [
    _bits("constants = 32 / block if group is None else (8 + 32 / group) / block\n    return 4 + constants"),
    _bits(_WITH + "(4 * block * group + 8 * group + 32) / (block * group)"),
    _quantize(codes="torch.bucketize(scaled.contiguous(), (levels[1:] + levels[:-1]) / 2).flatten().to(torch.uint8)"),
    _quantize(scale="torch.stack([g.abs().max() for g in groups])", scaled="(groups.T / scale).T"),
    _restore("return ((levels[codes.int()].view(-1, 256) * scale[:, None]) + mean).flatten()"),
    _restore("return torch.cat([levels[c.long()] * s + mean for c, s in zip(codes.split(256), scale)])"),
]
