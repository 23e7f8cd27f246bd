"""The command `lora-lab`: doctor and demo.

Only what parsing needs is imported here, so that `lora-lab --help` answers at once.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn


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

    doctor = commands.add_parser("doctor", help="is this machine ready? versions, device, memory, network, model files",
                                 description="Check this machine and say how to repair what is not right; "
                                             "exit status 1 if something fails.")
    doctor.set_defaults(command=_doctor)

    demo = commands.add_parser("demo", help="fine-tune the base model and show before and after",
                               description="Fine-tune the base model to answer in JSON from a passage, measure before "
                                           "and after, save the adapter; exit status 1 if the target is missed.")
    demo.add_argument("--method", choices=("full", "lora", "qlora"), default="qlora", help="default: %(default)s")
    demo.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    demo.add_argument("--tier", default="auto", help="auto, cpu, t4, l4 or a100: model and batch for the machine; "
                                                     "default: %(default)s")
    demo.add_argument("--out", type=Path, default=Path("out/demo"), help="folder for the adapter; default: %(default)s")
    demo.set_defaults(command=_demo)
    return parser


def _doctor(options: argparse.Namespace) -> int:
    from lora_lab import doctor

    return doctor.run()


def _demo(options: argparse.Namespace) -> int:
    from lora_lab.demo import run

    return run(options.method, options.seed, options.tier, options.out)


if __name__ == "__main__":
    sys.exit(main())
