"""`lora-lab memory`: will it fit? The bytes of a training step or of answering, from the name of a model."""

import argparse
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lora_lab import memory
from lora_lab.commands import memory_answering, memory_room, memory_training
from lora_lab.commands.memory_answer import Answer
from lora_lab.commands.memory_json import as_record
from lora_lab.commands.memory_plot import format_of, plot
from lora_lab.commands.memory_refusals import refuse, refuse_unknown
from lora_lab.commands.memory_settings import given
from lora_lab.commands.memory_text import as_text
from lora_lab.memory.kinds import refuse_uncounted
from lora_lab.memory.names import refuse_towers, stand_in
from lora_lab.memory.presets import load_config


STATUS = {None: 0, "fits": 0, "does not fit": 3, "uncertain": 4}


def run(options: argparse.Namespace) -> int:
    """Print the answer as text or JSON, and draw it if asked.

    Returns:
        0 if the step fits or nothing was asked, 3 if it does not fit, 4 if that is uncertain.

    Raises:
        ValueError: for a model, setting, GPU, budget or format of a figure that cannot be.
        OSError: if the figure cannot be written; nothing is printed then, and what stood there is untouched.
    """
    found = _answer(options)
    text = json.dumps(as_record(found), indent=1) if options.json else as_text(found)
    if options.plot:
        room = found.room.bytes if found.room else None
        plot(Path(options.plot), options.model, found.config, found.typed, found.estimate, room)
        text += "" if options.json else f"\n\ndrawn: {options.plot}"
    print(text)
    return STATUS[found.verdict]


def _answer(options: argparse.Namespace) -> Answer:
    room, cards, remarks = memory_room.find(options)  # before anything that takes time
    if options.plot:
        format_of(Path(options.plot))
    refuse(options, cards)
    typed = given(options, cards)
    config, more = _config(options.model)
    refuse_unknown(options, cards, config)
    if options.inference:
        found = memory_answering.answer(options.model, config, typed, room)
    else:
        found = memory_training.answer(options.model, config, typed, room, options.simulate)
    return replace(found, remarks=(*more, *found.remarks, *remarks, *_as_typed(options, found.settings)))


def _config(model: str) -> tuple[Any, list[str]]:
    """What a name means, and a remark if it is not the preset's own."""
    if os.path.exists(model) and model.strip().lower() not in memory.PRESETS:
        with _quiet():
            config = load_config(model)
        refuse_uncounted(model, config)
        return config, []
    preset = stand_in(model)
    if preset is None:
        refuse_towers(model)
        return load_config(model), []
    remarks = []
    if model.strip().lower() not in (preset.name, preset.hub.lower()):
        remarks.append(f"'{model}' is counted as the preset {preset.name} ({preset.hub}), which has the same shapes")
    if preset.name.endswith("-text") and model.strip().lower() != preset.name:
        remarks.append(f"counted is the text part of {model}, without its vision tower")
    return preset, remarks


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what transformers logs while it reads a config: the answer says what matters of it."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _as_typed(options: argparse.Namespace, settings: Mapping[str, Any]) -> list[str]:
    words = {name: getattr(options, name) for name in ("optimizer", "attention")}
    return [
        f"--{name} {written} is counted as {settings[name]}, which keeps the same tensors"
        for name, written in words.items()
        if written and written.strip().lower() != settings[name]
    ]
