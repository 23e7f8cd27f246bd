"""Which flags of `lora-lab memory` go together, before anything is counted."""

import argparse
from typing import Any

from lora_lab.commands.memory_options import ANSWERING, SETTINGS, TOGETHER
from lora_lab.commands.memory_settings import flag

_OF_TRAINING = tuple(name for name in (*SETTINGS, *TOGETHER, "simulate", "plot") if name not in ANSWERING)
_OF_ANSWERING = tuple(name for name in ANSWERING if name not in SETTINGS)
_RATHER = {
    "seq_len": "give --context",
    "method": "give --weights",
    "precision": "give --weights",
    "gpus": "answering is counted on one card",
    "weights": "of training, --method and --precision say it",
    "context": "of training, --seq-len says it",
    "cache": "training has no cache",
}


def refuse(options: argparse.Namespace, cards: int) -> None:
    """Flags that do not go together are refused.

    Args:
        options: as parsed.
        cards: that train one model together.

    Raises:
        ValueError: one sentence names the two and the way out.
    """
    for name in _OF_TRAINING if options.inference else _OF_ANSWERING:
        if (value := getattr(options, name)) in (None, False):
            continue
        rather = f" ({_RATHER[name]})" if name in _RATHER else ""
        if options.inference:
            raise ValueError(f"{flag(name, value)} is of training, which --inference leaves out: leave it out{rather}")
        raise ValueError(f"{flag(name, value)} is of answering: add --inference, or leave it out{rather}")
    if options.reference and not options.dpo:
        raise ValueError(f"--reference {options.reference} is what --dpo compares with: add --dpo, or leave it out")
    if options.inference:
        return
    if options.sharding and cards == 1:
        raise ValueError(
            f"--sharding {options.sharding} is among several cards: add --gpus 2, or name them, as in --gpu 2xt4"
        )
    for name in ("dpo", "simulate"):
        if getattr(options, name) and cards > 1:
            raise ValueError(
                f"--{name} is counted on one card, not on {cards}: leave out --gpus, and name a single --gpu, or leave "
                f"out --{name}"
            )
    if options.simulate and options.dpo:
        raise ValueError("--dpo has a closed form only: leave out --simulate, or --dpo")


def refuse_unknown(options: argparse.Namespace, cards: int, config: Any) -> None:
    """An architecture without closed forms is refused for what cannot be simulated either.

    Raises:
        ValueError: with those that have some.
    """
    from lora_lab.memory.sizes import FAMILIES

    asked = {"--inference": options.inference, "--dpo": options.dpo, "--gpus": cards > 1}
    if config.model_type not in FAMILIES and any(asked.values()):
        flags = " and ".join(name for name, value in asked.items() if value)
        raise ValueError(
            f"{flags} has closed forms only, and the architecture '{config.model_type}' has none: choose a model of "
            f"{', '.join(FAMILIES)}, or ask for a step of training on one card with --simulate"
        )
