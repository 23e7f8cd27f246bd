"""The command `lora-lab`: doctor, demo and memory.

Only what parsing needs is imported here, so that `lora-lab --help` answers at once.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after `lora-lab`; by default those of the command line.

    Returns:
        The exit status: 0 done, 1 the result is not what it should be, 2 bad input (one sentence on stderr),
        130 interrupted.
    """
    options = _parser().parse_args(argv)
    try:
        return options.command(options)
    except (ValueError, OSError) as error:  # what the library raises for bad input: the sentence is the message
        print(f"lora-lab: {' '.join(str(error).split()) or type(error).__name__}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("lora-lab: interrupted", file=sys.stderr)
        return 130


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without repeating the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see '{self.prog} --help'\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="lora-lab", description="LoRA, quantization and QLoRA, executable.", allow_abbrev=False)
    commands = parser.add_subparsers(metavar="command", required=True)

    doctor = commands.add_parser(
        "doctor",
        help="is this machine ready? versions, device, memory, network, model files",
        description="Check this machine and say how to repair what is not right; exit status 1 if something fails.",
    )
    doctor.set_defaults(command=_doctor)

    demo = commands.add_parser(
        "demo",
        help="fine-tune the base model and show before and after",
        description="Fine-tune the base model to answer in JSON from a passage, measure before "
        "and after, save the adapter; exit status 1 if the target is missed.",
    )
    demo.add_argument("--method", choices=("full", "lora", "qlora"), default="qlora", help="default: %(default)s")
    demo.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    demo.add_argument(
        "--tier",
        default="auto",
        help="auto, cpu, t4, l4 or a100: model and batch for the machine; default: %(default)s",
    )
    demo.add_argument("--out", type=Path, default=Path("out/demo"), help="folder for the adapter; default: %(default)s")
    demo.set_defaults(command=_demo)
    _add_memory(commands)
    return parser


def _add_memory(commands: Any) -> None:
    parser = commands.add_parser(
        "memory",
        help="will it fit? the bytes of a training step, from a model's name",
        description="Predict the memory of one training step, before a weight is downloaded; "
        "exit status 1 if it does not fit into --gpu or --budget.",
    )
    parser.add_argument("model", help="a preset such as llama-3.1-8b, or a folder with a config.json")
    parser.add_argument("--method", choices=("full", "lora", "qlora"), default="qlora", help="default: %(default)s")
    parser.add_argument("--r", type=int, default=16, help="rank of the adapters; default: %(default)s")
    parser.add_argument(
        "--target-modules",
        type=_names,
        default="all-linear",
        metavar="NAMES",
        help="all-linear, or names such as q_proj,v_proj; default: %(default)s",
    )
    parser.add_argument("--batch-size", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--seq-len", type=int, default=2048, help="tokens; default: %(default)s")
    parser.add_argument(
        "--optimizer", default="adamw", help="adamw, adamw8bit, paged_adamw8bit, adafactor or sgd; default: %(default)s"
    )
    parser.add_argument("--precision", default="mixed", help="mixed, bf16 or fp32; default: %(default)s")
    parser.add_argument("--checkpointing", action="store_true", help="repeat the forward pass instead of keeping it")
    parser.add_argument("--attention", default="sdpa", help="sdpa or eager; default: %(default)s")
    parser.add_argument("--offload", default=None, help="optimizer or weights, to the host's memory")
    room = parser.add_mutually_exclusive_group()
    room.add_argument("--gpu", help="does it fit there? t4, l4, a100-80gb, ...")
    room.add_argument("--budget", metavar="BYTES", help="does it fit into so much, such as 16GB or 14.5GiB?")
    parser.add_argument(
        "--simulate",
        action="store_true",
        help="run the model's own code on tensors without values: nearer, but takes seconds to a minute",
    )
    parser.add_argument("--json", action="store_true", help="bytes, for a script")
    parser.add_argument("--plot", metavar="FILE", help="draw the three methods as bars (png, svg or pdf)")
    parser.set_defaults(command=_memory)


def _names(text: str) -> str | tuple[str, ...]:
    """One name or pattern as it is, several as a tuple."""
    names = tuple(filter(None, text.split(",")))
    return names if len(names) > 1 else text


def _doctor(options: argparse.Namespace) -> int:
    from lora_lab import doctor

    return doctor.run()


def _demo(options: argparse.Namespace) -> int:
    from lora_lab.demo import run

    return run(options.method, options.seed, options.tier, options.out)


def _memory(options: argparse.Namespace) -> int:
    from lora_lab.memory_cli import run

    return run(options)


if __name__ == "__main__":
    sys.exit(main())
