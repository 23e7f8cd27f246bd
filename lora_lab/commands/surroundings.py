"""The doctor's questions about what is around: the model, the disk, the network."""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lora_lab.commands.finding import Check
from lora_lab.network import package_index
from lora_lab.ranges import first
from lora_lab.units import GB, first_line

if TYPE_CHECKING:
    from lora_lab.models import Tier


def tier() -> Check:
    """What `--tier auto` will run, whether its model can be had, and what its training takes."""
    from huggingface_hub import constants

    from lora_lab.models.hub import cached, hub_reachable, silence
    from lora_lab.models.tiers import VARIABLE, get_tier, too_large_without_gpu

    try:
        chosen = get_tier("auto")
    except ValueError as error:
        named, _, way_out = first_line(error).partition(": ")
        return Check("tier", "fail", f"{named} names no tier", way_out)
    name = f"{chosen.name} ({VARIABLE} is set)" if os.environ.get(VARIABLE, "").strip() else chosen.name
    if lacks := too_large_without_gpu(chosen):
        problem, _, way_out = lacks.partition(": ")
        return Check("tier", "warn", f"{name}: {problem}", way_out)
    if chosen.embedded:
        return Check("tier", "ok", f"{name}: the embedded base, nothing to download; about a minute of training")
    if cached(chosen.model, chosen.revision):
        return Check("tier", "ok", f"{name}: {chosen.model}, downloaded before; {_training(chosen)}")
    if hub_reachable():
        size = f"{chosen.weight_bytes / GB:.1f} GB"
        return Check(
            "tier", "ok", f"{name}: {chosen.model}, {size} will be downloaded from the hub; {_training(chosen)}"
        )
    way = "unset it" if constants.HF_HUB_OFFLINE else "connect to the network"
    return Check(
        "tier",
        "warn",
        f"{name}: {chosen.model} is not on this machine and {silence()}",
        f"{way}, or use the embedded base: lora-lab demo --tier cpu, in notebooks {VARIABLE}=cpu",
    )


def _training(tier: "Tier") -> str:
    """Its steps, its peak and, where steps were measured on this card, its minutes."""
    import torch

    minutes = tier.minutes(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else None
    time = "minutes not measured on this machine" if minutes is None else f"about {max(minutes, 1):.0f} min of training"
    peak = f"peak {tier.peaks['qlora'] / GB:.1f} GB with qlora, {tier.peaks['lora'] / GB:.1f} with lora"
    return f"{tier.steps} steps of {tier.batch_size} x {tier.seq_len} tokens at most: {peak}, {time}"


def disk() -> Check:
    """The space and the right to write in the current folder."""
    from lora_lab.disk import writable_folder

    try:
        folder = writable_folder(Path.cwd())
    except FileNotFoundError:
        return Check("disk", "warn", "the current folder was removed", "change to a folder that exists")
    except OSError as error:
        return Check("disk", "warn", first_line(error), "change to a folder of your own")
    free = shutil.disk_usage(folder).free
    detail = f"{free / GB:.1f} GB free in {folder}; 1 GB suffices"
    return Check("disk", "ok", detail) if free >= GB else Check("disk", "warn", detail, "delete what you can spare")


def leftovers() -> Check | None:
    """What an interrupted save left in the current folder, in `out` or in a folder there."""
    from lora_lab.disk import leftovers as left_in

    places = [Path(), Path("out"), *sorted(place for place in Path("out").glob("*") if place.is_dir())]
    found = [str(left) for place in places for left in left_in(place)]
    if not found:
        return None
    return Check(
        "left-overs",
        "warn",
        f"an interrupted save left {first(found)}",
        "if nothing is being saved just now, look whether you need what is in it, and delete it",
    )


def network() -> Check:
    """Does the package index that pip is configured with answer? The course runs without one."""
    from lora_lab.models.hub import reachable

    index = package_index()
    if index is None:
        return Check("network", "ok", "pip is configured to ask no package index; not needed once installed")
    try:
        answers, name = reachable(index), urlsplit(index).hostname or "the local package index"
    except ValueError:
        return Check("network", "warn", "pip's index-url is no address", "correct it: pip config list shows where")
    return Check(
        "network", "ok", f"{name} answers" if answers else f"{name} does not answer; not needed once installed"
    )


def hub() -> Check:
    """Does the Hugging Face hub answer? Only the GPU tiers need it, once."""
    from lora_lab.models.hub import hub_reachable, silence

    answers = "the Hugging Face hub answers"
    return Check("hub", "ok", answers if hub_reachable() else f"{silence()}; not needed for the embedded base")


def embedded_base() -> Check:
    """Is every file of the embedded base there and undamaged?"""
    from lora_lab.models import checksums
    from lora_lab.models.base import EMBEDDED_FOLDER

    try:
        size = checksums.verify(EMBEDDED_FOLDER)
    except (OSError, ValueError) as error:
        problem, _, way_out = first_line(error).partition(": ")
        return Check("embedded base", "fail", problem, way_out)
    return Check("embedded base", "ok", f"whole, {size / 10**6:.1f} MB, every checksum right")


def real_model() -> Check:
    """Is the real model on this machine? Nobody needs it before they ask for it."""
    from lora_lab.models import from_gguf, real
    from lora_lab.models.base import embedded_stands_in

    try:
        if embedded_stands_in():
            return Check("real model", "ok", "LORA_LAB_MODEL=embedded: the embedded base stands in for it")
        if real.whereabouts() is None:
            real.cache()
    except (OSError, ValueError) as error:
        problem, _, way_out = first_line(error).partition(": ")
        return Check("real model", "warn", problem, way_out)
    if found := real.whereabouts():
        folder, source = found
        unfit = "; good for behaviour, unfit for comparing quantization errors" if "Q4_1" in source else ""
        return Check("real model", "ok", f"smollm2, {source}{unfit} ({folder})")
    lacks = "" if from_gguf.available() else ", and without the hub needs the package gguf"
    return Check("real model", "ok", f"not on this machine; `lora-lab demo --model smollm2` fetches it once{lacks}")
