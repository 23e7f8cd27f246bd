"""The model that is fine-tuned: the embedded base that comes with the package, the real model, or one that is named.

Loading reads safetensors and JSON, and never runs code that comes with a model.
"""

import errno
import math
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
from lora_lab.disk import read_json
from lora_lab.disk.shards import Checkpoint, Header
from lora_lab.models import real, room
from lora_lab.models.checksums import remedy, verify
from lora_lab.models.hub import home, snapshot
from lora_lab.models.refusals import WITHOUT, chain
from lora_lab.models.tiers import EMBEDDED, REAL, TIERS, BaseName, Device, choose_dtype, get_tier
from lora_lab.ram import free_memory
from lora_lab.units import GB, Method, first_line

EMBEDDED_FOLDER = Path(__file__).parent / "embedded"
"""Where the base model lies that comes with the package, as transformers saves one."""

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
        TypeError, ValueError: for a name or device that is none of these, or a model that is damaged or whose weights
            do not fit into what is free of the GPU's memory, or of this machine's; a model of the hub is then not
            downloaded.
        MemoryError: if memory runs out all the same.
        OSError: as `load_base`, or if a file cannot be read.
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
        raise ValueError(f"no model is named {ranges.brief(str(name))}, and no folder: {_hint(str(name))}{_NAMES}")

    def admit(parameters: int) -> None:
        room.require_weights(name, parameters, dtype, device)

    return _load(snapshot(name, admit=admit), name, dtype, device, _again(name))


_NAMES = f"give {EMBEDDED}, {REAL}, a folder with a model, or a hub model's name such as {TIERS['t4'].model}"
_ON_THE_HUB = re.compile(r"[\w-][\w.-]{0,95}/[\w-][\w.-]{0,95}", re.ASCII)


_ADDRESS = re.compile(r"https?://[^/]+/([^/]+/[^/?#]+)([/?#].*)?")


def _hint(name: str) -> str:
    """What was probably meant."""
    page = _ADDRESS.fullmatch(name)
    if page and _ON_THE_HUB.fullmatch(page[1]):
        return f"did you mean '{page[1]}'? Or "
    if name.endswith(".gguf"):
        return "a GGUF file is for llama.cpp, and not read here; "
    if os.path.isfile(name):
        return "it is a file, so give the folder that it lies in; or "
    if os.path.isdir(whole := os.path.expanduser(name)):
        return f"did you mean '{whole}'? Or "
    return ranges.suggestion(name, (EMBEDDED, REAL))


def load_base(tier: BaseName = "auto", method: Method = "qlora") -> Loaded:
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
        ValueError: for an unknown tier or method, a `LORA_LAB_MODEL` that is unknown, a model that is damaged or does
            not fit the tier's dtype, or one that does not fit into the memory of the GPU, or of a machine without one.
        MemoryError: if memory runs out all the same.
        FileNotFoundError: if a file of the embedded base is missing.
        ConnectionError: if a model is not on this machine and cannot be fetched.
        OSError: as `real.fetched` and `hub.snapshot`.
    """
    if tier == REAL and not embedded_stands_in():
        folder = real.fetched()
        model, tokenizer = _load(folder, real.HUB, torch.float32, "cpu", real.remedy(folder))
        model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
        return model, tokenizer
    if tier == EMBEDDED or tier == REAL or (chosen := get_tier(tier)).embedded:
        return load_embedded()
    room.require(chosen, method)
    folder = snapshot(chosen.model, chosen.revision, chosen.weight_bytes)
    return _load(folder, chosen.model, chosen.dtype, chosen.device, f"{_again(chosen.model)}, or {WITHOUT}")


def _again(name: str) -> str:
    """A snapshot holds only links: the client links a damaged file anew as long as it lies beside them."""
    return f"delete the folder '{home(name)}' and load the model again"


def embedded_stands_in() -> bool:
    """Whether `LORA_LAB_MODEL` puts the embedded base in the real model's place; ValueError for another model."""
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


def _load(folder: Path, name: str, dtype: torch.dtype, device: Device, way_out: str) -> Loaded:
    safe: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    require_loadable(folder, way_out)
    room.require_weights(name or f"'{folder}'", _parameters(folder), dtype, device)
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, output_loading_info=True, **safe
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, **safe)
    except Exception as error:  # the parsers of weights and tokenizers raise a dozen types, some of them bare Exception
        raise _not_loaded(error, folder, way_out) from error
    if problem := _problem(model.to(device), tokenizer, report):
        raise ValueError(f"the model in '{folder}' is damaged ({problem}): {way_out}")
    # The name goes into every adapter that is saved. A path would tell where this machine keeps its files, and an
    # invented name makes PEFT ask the hub; without a name it asks nobody.
    model.name_or_path = model.config._name_or_path = tokenizer.name_or_path = name
    return model.eval(), tokenizer


def require_loadable(folder: Path, way_out: str) -> None:
    """Refuse what is no whole model, or what transformers would take a library, or hours, to refuse.

    What is damaged it may find for itself.

    Raises:
        ValueError: for that, with `way_out`, or a better one.
    """
    try:
        files = {file.name for file in folder.iterdir()}
    except OSError:
        return
    if "config.json" not in files:
        if "adapter_config.json" in files:
            raise ValueError(
                f"the folder '{folder}' holds an adapter, and no model: load the model that it was trained on, then "
                f'lora.load_adapter(model, "{folder}")'
            )
        raise ValueError(f"the folder '{folder}' holds no config.json, and so no model: {way_out}")
    if not any(".safetensors" in name for name in files):
        raise ValueError(
            f"the model in '{folder}' has no weights in safetensors; those in pytorch_model.bin, a format that can "
            "run code, are not read: name a model that has them, or write it anew by transformers' save_pretrained"
        )
    try:
        config = read_json(folder / "config.json", way_out)
    except (OSError, ValueError):
        return
    if config.get("quantization_config"):
        raise ValueError(f"the model in '{folder}' is quantized already: name the one that it was made from")
    layers, tensors = config.get("num_hidden_layers"), len(_headers(folder))
    if isinstance(layers, int) and tensors and layers > tensors:
        raise ValueError(
            f"the model in '{folder}' is damaged (its config has {layers} layers, and its weights are {tensors} "
            f"tensors): {way_out}"
        )


def _not_loaded(error: Exception, folder: Path, way_out: str) -> Exception:
    """The error to raise instead: of the memory, of the disk, or, with its way out, of the model."""
    causes = list(chain(error))
    numbers = {cause.errno for cause in causes if isinstance(cause, OSError) and cause.errno}
    numbers |= {int(found) for cause in causes for found in re.findall(r"os error (\d+)", str(cause))}
    if errno.ENOMEM in numbers or any(isinstance(c, MemoryError) or _NO_MEMORY.search(str(c)) for c in causes):
        need, free = sum(file.stat().st_size for file in folder.glob("*.safetensors")), free_memory()
        sizes = f"{need / GB:.1f} GB of weights" + ("" if free is None else f", {free / GB:.1f} GB free")
        return MemoryError(
            f"the memory of this machine is too small for the model in '{folder}' ({sizes}): "
            f"close other notebooks and programs, or {WITHOUT}"
        )
    if unreadable := numbers & _UNREADABLE:
        return OSError(
            f"the model in '{folder}' cannot be read ({os.strerror(min(unreadable))}): look at its files' "
            f"permissions and at the disk, or {WITHOUT}"
        )
    return ValueError(f"the model in '{folder}' is damaged ({first_line(error)}): {way_out}")


_NO_MEMORY = re.compile(r"(?:cannot|can't|unable to) (?:allocate memory|mmap)|not enough memory", re.IGNORECASE)
_UNREADABLE = {errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE, errno.ENFILE}


def _parameters(folder: Path) -> int:
    """Of a checkpoint; 0 for one that cannot be read, which loading will say."""
    return sum(math.prod(header.shape) for header in _headers(folder).values())


def _headers(folder: Path) -> dict[str, Header]:
    """Of a checkpoint's tensors; none of one that cannot be read."""
    try:
        return Checkpoint(folder).headers
    except (OSError, ValueError, RuntimeError, MemoryError):  # RuntimeError: torch could not map the file
        return {}


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
