"""Lesson 13: labels for the answer alone, our configuration in PEFT's words, and targets that match nothing."""

import copy
from functools import lru_cache
from typing import Any

from torch import Tensor, nn

from lora_lab import lora
from lora_lab.data.batches import encode, encode_example, encode_prompt
from lora_lab.exercises.tasks import Wrong, task
from lora_lab.units import IGNORE

_Example = dict[str, list[int]]


def _as_peft(config: lora.LoRAConfig) -> Any:
    import peft  # here, for it is slow to import

    targets = config.target_modules
    if targets != "all-linear":
        targets = [targets] if isinstance(targets, str) else list(targets)  # type: ignore[assignment]
    return peft.LoraConfig(r=config.r, lora_alpha=config.alpha, lora_dropout=config.dropout,  # type: ignore[arg-type]
                           target_modules=targets, use_rslora=config.use_rslora, task_type="CAUSAL_LM")  # fmt: skip


def _missed(model: nn.Module, targets: list[str]) -> list[str]:
    names = [name for name, _ in model.named_modules()]
    return [target for target in targets if not any(f".{name}".endswith(f".{target}") for name in names)]


@task(reference=lambda: encode_example)
def chat_labels(chat_labels: Any) -> None:
    """A prompt and its answer as the model reads them; only the answer and its end token carry loss."""
    for tokenizer in _tokenizers():
        for prompt, answer in (("Which queue? My parcel never came.", "delivery"), ("Hi", "a longer answer: 12")):
            given = copy.deepcopy(tokenizer)
            _compare(_lists(chat_labels(given, prompt, answer)), tokenizer, prompt, answer)


def _lists(value: Any) -> _Example:
    if value is None:
        raise Wrong("yours returns nothing, wanted a dictionary: end it with return")
    if not hasattr(value, "keys"):
        raise Wrong(f'yours returns a {type(value).__name__}, wanted a dictionary {{"input_ids": …, "labels": …}}')
    found = {}
    for key in ("input_ids", "labels"):
        if key not in value:
            raise Wrong(f"yours has the keys {', '.join(map(str, value)) or 'none'}, wanted input_ids and labels")
        of_key = value[key].tolist() if isinstance(value[key], Tensor) else value[key]
        if not isinstance(of_key, (list, tuple)) or not all(isinstance(number, int) for number in of_key):
            raise Wrong(f"your {key} are no flat list of whole numbers: add lists of token ids with +")
        found[key] = list(of_key)
    ids, labels = found["input_ids"], found["labels"]
    if len(ids) != len(labels):
        raise Wrong(f"yours has {len(ids)} input_ids and {len(labels)} labels, wanted one label per token")
    return found


def _compare(yours: _Example, tokenizer: Any, prompt: str, answer: str) -> None:
    wanted = encode_example(tokenizer, prompt, answer)
    before = encode_prompt(tokenizer, prompt)
    after = wanted["input_ids"][len(before) :]
    if yours["input_ids"] != wanted["input_ids"]:
        raise Wrong(_why_ids(yours["input_ids"], tokenizer, prompt, before, after))
    if yours["labels"] != wanted["labels"]:
        raise Wrong(_why_labels(yours["labels"], wanted, before, after))


def _why_ids(ids: list[int], tokenizer: Any, prompt: str, before: list[int], after: list[int]) -> str:
    end = tokenizer.eos_token_id
    if ids == before + after[:-1]:
        return "the answer has no end token: the model would never learn to stop. Add tokenizer.eos_token to the answer"
    if ids == before:
        return "yours ends with the prompt: the answer's ids come after it, in input_ids too"
    if ids == after:
        return "yours holds the answer alone: the model must read the prompt first, before + after"
    if ids == after + before:
        return "yours has the answer before the prompt: before + after"
    if ids == [*before, *after, end]:
        return "yours ends with two end tokens: one is enough"
    if ids[: len(before)] != before:
        raw = encode(tokenizer, prompt)
        if ids[: len(raw)] == raw:
            return "your prompt did not go through the chat template: use `before`, which did"
        return "your ids do not begin with `before`, the prompt in the chat template: keep it as it is"
    return (
        f"after the prompt yours has {ids[len(before) :]}, wanted {after}: the ids of answer + tokenizer.eos_token, "
        "without special tokens of the tokenizer's own"
    )


def _why_labels(labels: list[int], wanted: _Example, before: list[int], after: list[int]) -> str:
    ids, n = wanted["input_ids"], len(before)
    if labels == ids:
        return f"your labels are the ids: the {n} tokens of the prompt would be learnt too. Put {IGNORE} there"
    if labels == [IGNORE] * len(ids):
        return f"all your labels are {IGNORE}: nothing is left to learn from. The answer keeps its ids"
    if labels == [IGNORE] * n + after[:-1] + [IGNORE]:
        return f"the end token has the label {IGNORE}: the model would never learn to stop"
    if labels == before + [IGNORE] * len(after):
        return f"yours is the wrong way round: {IGNORE} for the prompt, ids for the answer"
    if labels[n:] == after and len(set(labels[:n])) == 1:
        return f"your labels of the prompt are {labels[0]}, wanted {IGNORE}, the number that the loss leaves out"
    if labels in (wanted["labels"][1:] + [IGNORE], [IGNORE] * (n - 1) + after + [IGNORE]):
        return "your labels are shifted by one: the model shifts them itself, so a label stands at its own token"
    first = next(i for i, (a, b) in enumerate(zip(labels, wanted["labels"])) if a != b)
    return (
        f"your label {first} is {labels[first]}, wanted {wanted['labels'][first]}: {IGNORE} for the {n} prompt tokens"
    )


@lru_cache
def _tokenizers() -> list[Any]:
    """The embedded base's, and it with another template and with its end token for padding, as many models have it."""
    from transformers import AutoTokenizer

    from lora_lab.models import EMBEDDED_FOLDER

    own, other = (AutoTokenizer.from_pretrained(EMBEDDED_FOLDER, local_files_only=True) for _ in range(2))
    other.chat_template = (  # its own continuation of a prompt is the answer and the end token, as with the first
        "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}"
        "{% if m['role'] == 'assistant' %}{{ eos_token }}{% else %}\n{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}[assistant] {% endif %}"
    )
    other.pad_token = other.eos_token
    return [own, other]


@task(reference=lambda: _as_peft)
def as_peft(as_peft: Any) -> None:
    """PEFT's LoraConfig that means what lora_lab's LoRAConfig means: the same layers, and the same scaling in each."""
    import peft

    for config in (
        lora.LoRAConfig(r=16, alpha=32, target_modules="all-linear"),
        lora.LoRAConfig(r=4, alpha=6, target_modules=("q_proj", "down_proj"), dropout=0.25),
        lora.LoRAConfig(r=9, alpha=12, target_modules=("v_proj",), use_rslora=True),
        lora.LoRAConfig(r=2, alpha=2, target_modules="up_proj"),
    ):
        theirs = as_peft(config)
        if not isinstance(theirs, peft.LoraConfig):
            raise Wrong(f"yours is a {type(theirs).__name__}, wanted a peft.LoraConfig: return peft.LoraConfig(…)")
        _compare_numbers(theirs, config)
        _compare_layers(theirs, config)


def _compare_numbers(theirs: Any, config: lora.LoRAConfig) -> None:
    pairs = {"r": (theirs.r, config.r), "lora_alpha": (theirs.lora_alpha, config.alpha),
             "lora_dropout": (theirs.lora_dropout, config.dropout),
             "use_rslora": (bool(theirs.use_rslora), config.use_rslora)}  # fmt: skip
    hints = {"lora_alpha": "PEFT divides by r itself" if theirs.lora_alpha == config.scaling else "PEFT's default is 8"}
    hints["use_rslora"] = "without it s would be α/r instead of α/√r"
    hints["lora_dropout"] = "it is config.dropout"
    for name, (found, wanted) in pairs.items():
        if found != wanted:
            raise Wrong(f"for {_said(config)} your {name} is {found}, wanted {wanted}: {hints.get(name, 'pass it on')}")


def _compare_layers(theirs: Any, config: lora.LoRAConfig) -> None:
    """Put into one small model, both must adapt the same layers."""
    import peft

    wanted = set(lora.targets(_llama(), config.target_modules))
    targets = theirs.target_modules
    if targets is None:
        raise Wrong(f"for {_said(config)} your target_modules are missing: PEFT would choose layers of its own")
    try:
        wrapped = peft.get_peft_model(_llama(), theirs)
    except ValueError:
        if isinstance(targets, str):
            raise Wrong(
                f'for {_said(config)} PEFT finds no layer: it takes a string (but "all-linear") as a pattern of the '
                f"whole name, so give a list: [{targets!r}]"
            ) from None
        raise Wrong(f"for {_said(config)} PEFT finds no layer by {sorted(targets)}, wanted {sorted(wanted)}") from None
    found = {name for name, module in wrapped.base_model.model.named_modules() if hasattr(module, "lora_A")}
    if found != wanted:
        raise Wrong(f"for {_said(config)} yours adapts {sorted(found)}, wanted {sorted(wanted)}")
    if theirs.task_type != "CAUSAL_LM":
        raise Wrong('wanted task_type="CAUSAL_LM" too: it chooses the wrapper, and is written into the folder')


def _llama() -> Any:
    """A decoder of two small blocks."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(vocab_size=9, hidden_size=8, intermediate_size=8, num_hidden_layers=2,
                                        num_attention_heads=2, num_key_value_heads=1))  # fmt: skip


def _said(config: lora.LoRAConfig) -> str:
    return f"r={config.r}, alpha={config.alpha:g}, target_modules={config.target_modules!r}"


class _Model(nn.Module):
    """Two blocks with layers of the usual names, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Block() for _ in range(2))
        self.lm_head = nn.Linear(2, 2)


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for name in ("q_proj", "v_proj", "up_proj", "down_proj", "qkv_proj"):
            setattr(self, name, nn.Linear(2, 2))


@task(reference=lambda: _missed)
def missed_targets(missed_targets: Any) -> None:
    """Which targets PEFT would find nowhere: neither as a module's whole name nor as the end of one, after a dot."""
    cases: tuple[tuple[list[str], list[str]], ...] = (
        (["q_proj", "out_proj", "v_proj"], ["out_proj"]),
        (["q_proj", "v_proj"], []),
        (["lm_head", "layers.1.up_proj", "1.down_proj"], []),
        (["proj", "q_pro", "layers.q_proj"], ["proj", "q_pro", "layers.q_proj"]),
        (["o_proj", "gate_proj"], ["o_proj", "gate_proj"]),
    )
    for targets, wanted in cases:
        given = list(targets)
        found = missed_targets(_Model(), given)
        if given != targets:
            raise Wrong("your code changed the list that it was given: make a new one")
        if found is None:
            raise Wrong("yours returns nothing, wanted a list of names: end it with return")
        if isinstance(found, str) or not isinstance(found, (list, tuple, set)):
            raise Wrong(f"yours returns {found!r}, wanted a list of names")
        if sorted(map(str, found)) != sorted(wanted):
            raise Wrong(
                f"for {targets} yours is {sorted(map(str, found))}, wanted {wanted}{_why_missed(found, targets)}"
            )


def _why_missed(found: Any, targets: list[str]) -> str:
    names = [name for name, _ in _Model().named_modules()]
    given = sorted(found)

    def those(hit: Any) -> list[str]:
        return sorted(target for target in targets if not any(hit(name, target) for name in names))

    right = those(lambda name, target: f".{name}".endswith(f".{target}"))
    if len(given) != len(set(given)):
        return ": each missed target once; ask over all modules first, then append"
    if given == sorted(set(targets) - set(right)):
        return ": those are the ones that were found; return the others"
    if given == those(lambda name, target: target in name):
        return ": `in` finds parts of words. A target is the whole name, or its end after a dot"
    if given == those(lambda name, target: name.endswith(target)):
        return f": q_proj ends with {targets[0]} as well. What stands before the end must be a dot"
    if given == those(lambda name, target: name == target):
        return ": a target may also be the end of a name, after a dot, as q_proj in layers.0.q_proj"
    if given == those(lambda name, target: name.endswith(f".{target}")):
        return ": lm_head is a whole name, with no dot before it"
    if given == those(lambda name, target: name.rsplit(".")[-1] == target):
        return ": a target may have dots itself, as 1.down_proj"
    return ": a target is found where a module's name is it, or ends with a dot and it"
