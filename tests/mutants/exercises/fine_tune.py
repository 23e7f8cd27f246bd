"""Answers to lesson 12's tasks: wrong ones with their diagnosis, and right ones written otherwise."""

from tests.mutants.exercises.answer import Answer


def _learner(body: str, says: str = "") -> Answer:
    return Answer(task="four_bit_learner", code=f"def four_bit_learner(model, r, alpha):\n    {body}\n", says=says)


def _paired(body: str, says: str = "") -> Answer:
    return Answer(task="paired_difference", code=f"def paired_difference(ours, theirs, t):\n    {body}\n", says=says)


_QUANTIZE = "quant.quantize_model(model)\n    "
_INJECT = 'lora.inject(model, lora.LoRAConfig(r=r, alpha=alpha, target_modules="all-linear"))\n    '
_GAPS = "d = torch.tensor(ours) - torch.tensor(theirs)\n    "
_HALF = "(t * d.std() / len(d) ** 0.5).item()"

ANSWERS = [
    _learner(f"{_QUANTIZE}{_INJECT}pass", "None, wanted the model"),
    _learner(f"{_INJECT}return model", "no layer is in four bits"),
    _learner(f"{_QUANTIZE}return model", "no layer has an adapter"),
    _learner(f"{_QUANTIZE}return lora.LoRAConfig(r=r, alpha=alpha)", "wanted the model that it was given"),
    _learner(f'quant.quantize_model(model, skip=("lm_head", "down_proj"))\n    {_INJECT}return model', "in four bits"),
    _learner(f"quant.quantize_model(model, codebook=quant.INT4)\n    {_INJECT}return model", "wanted NF4"),
    _learner(f"quant.quantize_model(model, double_quant=False)\n    {_INJECT}return model", "double_quant"),
    _learner(f"{_QUANTIZE}lora.inject(model, lora.LoRAConfig(r=r, alpha=alpha))\n    return model", "has no adapter"),
    _learner(f"{_QUANTIZE}{_INJECT.replace('r=r, ', '')}return model", "wanted the 4 that it was asked for"),
    _learner(f"{_QUANTIZE}{_INJECT.replace('alpha=alpha, ', '')}return model", "wanted α/r = 3"),
    _learner(f"{_QUANTIZE}{_INJECT.replace('alpha=alpha', 'alpha=r')}return model", "scaling is 1"),
    _learner(
        f"{_QUANTIZE}{_INJECT}model.model.embed_tokens.requires_grad_(True)\n    return model",
        "wanted the adapters alone",
    ),
    _learner(f"{_QUANTIZE}{_INJECT}model.requires_grad_(False)\n    return model", "0 factors train"),
    _learner("model = quant.quantize_model(torch.nn.Sequential(torch.nn.Linear(4, 4)))\n    return model", "given"),
    _learner(f"{_QUANTIZE}{_INJECT.replace('r=r, alpha=alpha', 'r=alpha, alpha=r')}return model", "are swapped"),
    _paired(f"{_GAPS}return d.mean(), t * d.std() / len(d) ** 0.5", "wanted plain numbers"),
    _paired("return 0.1", "wanted two numbers"),
    _paired(f"{_GAPS}pass", "None, wanted two numbers"),
    _paired(f"{_GAPS}return d, {_HALF}", "where one number is wanted"),
    _paired(f"{_GAPS}return -d.mean().item(), {_HALF}", "not the other way round"),
    _paired(f"{_GAPS}return d.sum().item(), {_HALF}", "divide by the number of pairs"),
    _paired(f"{_GAPS}return abs(d.mean().item()), {_HALF}", "do not take its size"),
    _paired(f"{_GAPS}return d.abs().mean().item(), {_HALF}", "do not take its size"),
    _paired(f"{_GAPS}return d.median().item(), {_HALF}", "then take the mean"),
    _paired(f"{_GAPS}return d.mean().item(), (t * d.std()).item()", "square root of the number"),
    _paired(f"{_GAPS}return d.mean().item(), (t * d.std() / len(d)).item()", "not by the number"),
    _paired(f"{_GAPS}return d.mean().item(), (d.std() / len(d) ** 0.5).item()", "multiply by t"),
    _paired(f"{_GAPS}return d.mean().item(), (2.37 * d.std() / len(d) ** 0.5).item()", "use the t that is handed in"),
    _paired(f"{_GAPS}return d.mean().item(), 2 * {_HALF}", "half of it"),
    _paired(f"{_GAPS}return d.mean().item(), (t * d.var() / len(d) ** 0.5).item()", "has the variance in it"),
    _paired(f"{_GAPS}return d.mean().item(), (t * d.std(correction=0) / len(d) ** 0.5).item()", "n − 1"),
    _paired(
        f"{_GAPS}spread = (torch.tensor(ours).var() + torch.tensor(theirs).var()) ** 0.5\n    "
        "return d.mean().item(), (t * spread / len(d) ** 0.5).item()",
        "subtract pair by pair first",
    ),
    _paired(f"{_GAPS}return d.mean().item(), (t * torch.tensor(ours).std() / len(d) ** 0.5).item()", "spread of ours"),
    _paired("ours.sort()\n    theirs.sort()\n    return 0.0, 0.0", "changed the lists"),
]

RIGHT = [
    _learner(f"{_QUANTIZE}{_INJECT}return model"),
    _learner(f"{_INJECT}return quant.quantize_model(model)"),
    _learner(
        'quant.quantize_model(model, skip=["lm_head"], codebook=quant.NF4, double_quant=True)\n    names = "q_proj", '
        '"k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"\n    '
        "return lora.inject(model, lora.LoRAConfig(r, alpha, target_modules=names))"
    ),
    _paired(f"{_GAPS}return d.mean().item(), {_HALF}"),
    _paired(
        "d = [a - b for a, b in zip(ours, theirs)]\n    m = sum(d) / len(d)\n    "
        "s = math.sqrt(sum((x - m) ** 2 for x in d) / (len(d) - 1))\n    return m, t * s / math.sqrt(len(d))"
    ),
    _paired(f"{_GAPS}return torch.stack([d.mean(), t * d.std() / len(d) ** 0.5]).tolist()"),
]
