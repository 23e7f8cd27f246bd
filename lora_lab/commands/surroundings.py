"""The doctor's questions about what is around: the model, the disk, the network."""

import shutil
from pathlib import Path
from urllib.parse import urlsplit

from lora_lab.commands.finding import Check
from lora_lab.network import package_index
from lora_lab.ranges import first
from lora_lab.units import GB, first_line


def tier() -> Check:
    """What `--tier auto` will run, and whether its model can be had."""
    from lora_lab.models.hub import cached, hub_reachable
    from lora_lab.models.tiers import get_tier

    chosen = get_tier("auto")
    if chosen.embedded:
        return Check("tier", "ok", f"{chosen.name}: the embedded base, nothing to download")
    if cached(chosen.model):
        return Check("tier", "ok", f"{chosen.name}: {chosen.model}, downloaded before")
    if hub_reachable():
        return Check("tier", "ok", f"{chosen.name}: {chosen.model}, will be downloaded from the hub")
    return Check(
        "tier",
        "warn",
        f"{chosen.name}: {chosen.model} is not on this machine and the hub does not answer",
        "connect to the network, or use the embedded base: lora-lab demo --tier cpu",
    )


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
    from lora_lab.models.hub import hub_reachable

    return Check(
        "hub",
        "ok",
        "the Hugging Face hub answers"
        if hub_reachable()
        else "the Hugging Face hub does not answer; not needed for the embedded base",
    )


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

    if found := real.whereabouts():
        folder, source = found
        unfit = "; good for behaviour, unfit for comparing quantization errors" if "Q4_1" in source else ""
        return Check("real model", "ok", f"smollm2, {source}{unfit} ({folder})")
    lacks = "" if from_gguf.available() else ", and without the hub needs the package gguf"
    return Check("real model", "ok", f"not on this machine; `lora-lab demo --model smollm2` fetches it once{lacks}")
