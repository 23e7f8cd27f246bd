"""Which preset has the shapes of a model that is called otherwise: instruct variants, older names, later training."""

import re

from lora_lab.memory.kinds import reads_more
from lora_lab.memory.presets import PRESETS, Preset, find_preset
from lora_lab.ranges import brief

# Words of a name that say how a model was trained or stored; they change no shape.
_TRAINING = re.compile(r"(instruct|chat|it|hf|base|pt|meta|unsloth|bnb|4bit|awq|gptq|bf16|fp16)")

# Words by which a family calls a further training of all its sizes: Qwen2.5-Coder, arXiv 2409.12186, table 1.
_FURTHER = {"qwen2.5-coder": "qwen2.5"}

# Words of a name that say that something stands before the decoder, or beside it, which nothing here counts.
_BESIDE = re.compile(r"(vl|vision|llava|pixtral|omni|paligemma|idefics\d?|internvl\d?|audio|multimodal|mllama)")

# Models that were trained further from a preset, or again with its shapes: their config.json says the same sizes.
_SAME = {
    "llama-3.3-70b": "llama-3.1-70b",
    "deepseek-r1-distill-llama-8b": "llama-3.1-8b",
    "deepseek-r1-distill-llama-70b": "llama-3.1-70b",
    "hermes-3-llama-3.1-8b": "llama-3.1-8b",
    "vicuna-7b-v1.5": "llama-2-7b",
    "vicuna-13b-v1.5": "llama-2-13b",
}


def stand_in(name: str) -> Preset | None:
    """The preset whose shapes a model has, from the model's name on the hub or a part of it; None if none is known.

    "meta-llama/Llama-3.1-8B-Instruct" is counted as "llama-3.1-8b", and "llama-3.3-70b" as "llama-3.1-70b". How many
    positions a variant reads may differ from the preset's.

    Args:
        name: in any case, with its owner or without.
    """
    if preset := find_preset(name):
        return preset
    if name.count("/") > 1 or name.strip().startswith((".", "/", "~")):  # a path, which is no name
        return None
    bare = _bare(name)
    for further, first in _FURTHER.items():
        bare = bare.replace(further, first)
    return find_preset(_SAME.get(bare, "")) or _BY_BARE_NAME.get(bare)


def refuse_towers(name: str) -> None:
    """Refuse a model that reads more than text, where the nearest preset would be another model's answer.

    Args:
        name: as for `stand_in`.

    Raises:
        ValueError: with what is missing.
    """
    words = re.split(r"[-_.\s]+", name.strip().lower().rpartition("/")[2])
    if found := next((word for word in words if _BESIDE.fullmatch(word)), None):
        raise ValueError(reads_more(brief(name), found))


def _bare(name: str) -> str:
    """In lower case, without the owner and the words of training."""
    words = re.split(r"[-_\s]+", name.strip().lower().rpartition("/")[2])
    return "-".join(word for word in words if word and not _TRAINING.fullmatch(word))


_BY_BARE_NAME = {
    _bare(written): preset for preset in PRESETS.values() for written in (preset.hub, preset.name) if _bare(written)
}
