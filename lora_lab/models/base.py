"""The model that is fine-tuned: the embedded base that comes with the package, the real model, or one that is named.

Loading reads safetensors and JSON, and never runs code that comes with a model.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from lora_lab import ranges
from lora_lab.models import real
from lora_lab.models.checksums import remedy, verify
from lora_lab.models.hub import WITHOUT, snapshot
from lora_lab.models.tiers import EMBEDDED, REAL, TIERS, BaseName, Device, choose_dtype, get_tier
from lora_lab.units import first_line

EMBEDDED_FOLDER = Path(__file__).parent / "embedded"

Loaded = tuple[PreTrainedModel, PreTrainedTokenizerBase]


def load(name: str | Path, device: Device | None = None) -> Loaded:
    """A model by the name that a user gives it, and its tokenizer, in eval mode.

        model, tokenizer = load("embedded")                     # or "smollm2": as `load_base` gives them
        model, tokenizer = load("out/my_model")                 # a folder with config.json, weights and tokenizer
        model, tokenizer = load("Qwen/Qwen2.5-0.5B-Instruct")   # from the hub, or its cache

    Args:
        name: one of these. A folder comes before a model on the hub that has the same name; a `Path` is a folder.
        device: `"cpu"` or `"cuda"`, and the dtype that `choose_dtype` gives it: on the CPU float32. By default the GPU,
            where there is one, but the CPU for the embedded and the real model.

    Raises:
        TypeError, ValueError: for a name or device that is none of these, or a model that is damaged.
        OSError: as `load_base`; a folder that cannot be read is damaged.
    """
    if not isinstance(name, (str, Path)):
        raise TypeError(f"a model is named by a string or a path, not by {type(name).__name__}: {_NAMES}")
    if device is not None:
        ranges.choice("device", device, get_args(Device))
    if name == EMBEDDED or name == REAL:
        model, tokenizer = load_base(REAL if name == REAL else EMBEDDED)
        return (model if device is None else model.to(device, choose_dtype(device)[0])), tokenizer
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = choose_dtype(device)[0]
    if os.path.isdir(name):  # unlike Path.is_dir, it takes a name that is too long for none
        return _load(Path(name), "", dtype, device, "name a folder that transformers' save_pretrained wrote")
    if isinstance(name, Path) or not _ON_THE_HUB.fullmatch(name):
        hint = ranges.suggestion(str(name), (EMBEDDED, REAL))
        raise ValueError(f"no model is named {ranges.brief(str(name))}, and no folder: {hint}{_NAMES}")
    folder = snapshot(name)
    return _load(folder, name, dtype, device, f"delete the folder '{folder}' and load the model again")


_NAMES = f"give {EMBEDDED}, {REAL}, a folder with a model, or a hub model's name such as {TIERS['t4'].model}"
_ON_THE_HUB = re.compile(r"[\w-][\w.-]{0,95}/[\w-][\w.-]{0,95}", re.ASCII)


def load_base(tier: BaseName = "auto") -> Loaded:
    """The base model of the course and its tokenizer, in eval mode.

        model, tokenizer = load_base()            # without a GPU: the embedded base, from the package, offline
        model, tokenizer = load_base("smollm2")   # the real model, fetched once; float32, on the CPU

    The real model is SmolLM2-135M-Instruct, as `models.real` fetches it. Where `LORA_LAB_MODEL=embedded` is set, the
    embedded base stands in for it, so that what a lesson shows does not depend on what has been fetched.

    Args:
        tier: `"auto"`, `"cpu"`, `"t4"`, `"l4"` or `"a100"`, of which all but `"cpu"` may download a model;
            `"embedded"`, which is `"cpu"`, or `"smollm2"`.

    Returns:
        A transformers causal LM, on the tier's device and in its dtype, and its tokenizer.

    Raises:
        ValueError: for an unknown tier, a `LORA_LAB_MODEL` that is unknown, or a model that is damaged or does not fit
            the tier's dtype.
        FileNotFoundError: if a file of the embedded base is missing.
        ConnectionError: if a model is not on this machine and cannot be fetched.
        OSError: as `real.fetched`.
    """
    if tier == REAL and not _embedded_stands_in():
        model, tokenizer = _load(real.fetched(), real.HUB, torch.float32, "cpu", real.REMEDY)
        model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
        return model, tokenizer
    if tier == EMBEDDED or tier == REAL or (chosen := get_tier(tier)).embedded:
        return load_embedded()
    folder = snapshot(chosen.model)
    return _load(
        folder,
        chosen.model,
        chosen.dtype,
        chosen.device,
        f"delete the folder '{folder}' and load the model again, or {WITHOUT}",
    )


def _embedded_stands_in() -> bool:
    wanted = os.environ.get("LORA_LAB_MODEL", "").strip().lower()
    if wanted not in ("", EMBEDDED, REAL):
        raise ValueError(f"LORA_LAB_MODEL={ranges.brief(wanted)}: set it to {EMBEDDED} or {REAL}, or unset it")
    return wanted == EMBEDDED


def load_embedded(folder: str | Path = EMBEDDED_FOLDER) -> Loaded:
    """The embedded base, or another one that `lora_lab.train.pretrain` made: float32, on the CPU, in eval mode.

    Every file is compared with its checksum first. The network is not touched.

    Raises:
        ValueError: if a file is damaged.
        FileNotFoundError: if a file is missing.
    """
    folder = Path(folder)
    verify(folder)
    with without_progress_bar():  # it would be gone before it is read
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
    if getattr(model.config, "quantization_config", None):
        raise ValueError(f"the model in '{folder}' is quantized already: name the one that it was made from")
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
def without_progress_bar() -> Iterator[None]:
    """transformers without its bars, for what is over before they are read."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
