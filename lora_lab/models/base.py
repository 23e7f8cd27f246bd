"""The model that is fine-tuned: the embedded base that comes with the package, or a hub model on a GPU.

Loading reads safetensors and JSON, and never runs code that comes with a model.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from lora_lab.models.checksums import remedy, verify
from lora_lab.models.hub import snapshot
from lora_lab.models.tiers import TierName, get_tier
from lora_lab.units import first_line

EMBEDDED_FOLDER = Path(__file__).parent / "embedded"

Loaded = tuple[PreTrainedModel, PreTrainedTokenizerBase]


def load_base(tier: TierName = "auto") -> Loaded:
    """The base model and its tokenizer for a tier, in eval mode.

        model, tokenizer = load_base()      # without a GPU: the embedded base, float32, from the package, offline

    Args:
        tier: `"auto"`, `"cpu"`, `"t4"`, `"l4"` or `"a100"`; all but `"cpu"` may download a model.

    Returns:
        A transformers causal LM, on the tier's device and in its dtype, and its tokenizer.

    Raises:
        ValueError: for an unknown tier, or a model that is damaged or does not fit the tier's dtype.
        FileNotFoundError: if a file of the embedded base is missing.
        ConnectionError: if a hub model is not on this machine and the hub cannot be reached.
    """
    chosen = get_tier(tier)
    if chosen.embedded:
        return load_embedded()
    folder = snapshot(chosen.model)
    return _load(
        folder,
        chosen.model,
        chosen.dtype,
        chosen.device,
        f"delete the folder '{folder}' and load the model again, or use the embedded base (--tier cpu)",
    )


def load_embedded(folder: str | Path = EMBEDDED_FOLDER) -> Loaded:
    """The embedded base, or another one that `lora_lab.train.pretrain` made: float32, on the CPU, in eval mode.

    Every file is compared with its checksum first. The network is not touched.

    Raises:
        ValueError: if a file is damaged.
        FileNotFoundError: if a file is missing.
    """
    folder = Path(folder)
    verify(folder)
    with _without_progress_bar():  # it would be gone before it is read
        return _load(folder, "", torch.float32, "cpu", remedy(folder))


def _load(folder: Path, name: str, dtype: torch.dtype, device: str, way_out: str) -> Loaded:
    safe: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, output_loading_info=True, **safe
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, **safe)
    except Exception as error:  # the parsers of weights and tokenizers raise a dozen types, some of them bare Exception
        raise ValueError(f"the model in '{folder}' is damaged ({first_line(error)}): {way_out}") from error
    if problem := _problem(model.to(device), tokenizer, report):
        raise ValueError(f"the model in '{folder}' is damaged ({problem}): {way_out}")
    # The name goes into every adapter that is saved. A path would tell where this machine keeps its files, and an
    # invented name makes PEFT ask the hub; without a name it asks nobody.
    model.name_or_path = model.config._name_or_path = tokenizer.name_or_path = name
    return model.eval(), tokenizer


def _problem(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, report: dict[str, Any]) -> str | None:
    """What transformers warns of at most: weights that are random, ignored, not tied, or out of the dtype's range."""
    if absent := sorted(report["missing_keys"]):
        return f"{len(absent)} of its weights are missing, '{absent[0]}' among them"
    if ignored := sorted(report["unexpected_keys"]):
        return f"its config has no place for {len(ignored)} of its weights, '{ignored[0]}' among them"
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if getattr(model.config, "tie_word_embeddings", False) and head is not None and head.weight is not embedding.weight:
        return "its config ties the output head to the embedding, but their weights differ"
    if len(tokenizer) > embedding.num_embeddings:
        return f"its tokenizer has {len(tokenizer)} tokens, and its embedding {embedding.num_embeddings} rows"
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            return f"'{name}' is NaN or infinite in {str(parameter.dtype).removeprefix('torch.')}"
    return None


@contextmanager
def _without_progress_bar() -> Iterator[None]:
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
