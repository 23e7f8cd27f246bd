"""The command `lora-lab`: lab, doctor, demo, finetune, memory, exercises, grade and classroom.

Only what parsing needs is imported here, so that `lora-lab --help` answers at once.
"""

import argparse
import re
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from lora_lab.commands import classroom_options, finetune_options, grade_options, memory_options
from lora_lab.commands.arguments import folder as _folder
from lora_lab.commands.arguments import seed as _seed
from lora_lab.commands.arguments import word as _word
from lora_lab.commands.console import lasting_output
from lora_lab.units import METHODS, first_line

_NO_FLAGS = {"model", "command", "words"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after `lora-lab`; by default those of the command line.

    Returns:
        The exit status: 0 done, 1 the result is not what it should be, 2 bad input, or a disk that is full (one
        sentence on stderr), 3 it does not fit and 4 that is uncertain (`memory`), 130 interrupted or terminated. That a
        reader of the output went away changes nothing.
    """
    with lasting_output() as out, _terminated_like_interrupted():
        try:
            status = _run(argv)
        except SystemExit:  # the parser's, after its help or its sentence
            if _is_whole(out):
                raise
            status = 2
        return status if _is_whole(out) else 2


def _run(argv: Sequence[str] | None) -> int:
    options = _parser().parse_args(argv)
    options.words = sys.argv[1:] if argv is None else list(argv)
    try:
        return options.command(options)
    except (
        ValueError,
        OSError,
        MemoryError,
    ) as error:  # what the library raises for bad input: the sentence is the message
        _say(in_flags(" ".join(str(error).split()) or first_line(error), vars(options).keys() - _NO_FLAGS))
        return 2
    except FloatingPointError as error:  # training that went astray is no bad input
        _say(str(error))
        return 1
    except KeyboardInterrupt as stop:
        _say(str(stop) or "interrupted")
        return 130


def in_flags(message: str, options: Iterable[str]) -> str:
    """A sentence of the library in the words of the command line: `seq_len=0` becomes `--seq-len 0`.

    Args:
        message: names arguments as Python does.
        options: the names of those that are flags here.
    """
    for name in sorted(options):
        flag = f"--{name.replace('_', '-')}"
        message = re.sub(rf"(?<![\w-]){name}=True\b", flag, message)
        message = re.sub(rf"(?<![\w-]){name}=False\b", f"--no-{flag[2:]}", message)
        message = re.sub(rf"(?<![\w-]){name}='([\w.+-]+)'", rf"{flag} \1", message)
        message = re.sub(rf"(?<![\w-]){name}=(?=\S)", f"{flag} ", message)
        if "_" in name:  # a word that no sentence has otherwise
            message = re.sub(rf"(?<![\w-]){name}\b", flag, message)
    message = message.replace(", None", ", or leave it out")
    message = message.replace("give config.text_config for its text part", "give a config.json of its text part")
    return message.replace("memory.simulate", "--simulate").replace("memory.estimate", "the command without --simulate")


def _is_whole(out: Any) -> bool:
    """Whether all that was printed could be written; if not, that is said, once."""
    out.flush()
    if (failure := out.failure) is None:
        return True
    out.failure = None
    _say(f"cannot write the output ({failure.strerror or failure}): make room, or write it elsewhere")
    return False


def _say(sentence: str) -> None:
    print(f"lora-lab: {sentence}", file=sys.stderr)


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM unwinds as Ctrl-C does, so that no temporary file stays and nothing is half done."""
    if threading.current_thread() is not threading.main_thread():  # only there signals can be handled
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without repeating the usage; a flag is written out."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**(options | {"allow_abbrev": False}))

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {' '.join(message.split())}; see '{self.prog} --help'\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="lora-lab", description="LoRA, quantization and QLoRA, executable.")
    commands = parser.add_subparsers(metavar="command", required=True)
    _add_lab(commands)

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
    demo.add_argument("--method", choices=METHODS, default="qlora", help="default: %(default)s")
    demo.add_argument("--seed", type=_seed, default=0, help="default: %(default)s")
    demo.add_argument(
        "--model",
        type=_word,
        help="embedded, smollm2 (the real one: fetched once, five minutes on two cores), a hub model's name or a "
        "folder; default: the tier's, without a GPU the embedded one",
    )
    demo.add_argument(
        "--tier",
        type=_word,
        default="auto",
        help="auto, cpu, t4, l4 (or a10) or a100 (or h100): model and batch for the machine; default: %(default)s",
    )
    demo.add_argument(
        "--out",
        type=_folder,
        default=Path("out/demo"),
        help="folder for the adapter; default: %(default)s",
    )
    demo.set_defaults(command=_demo)
    finetune_options.add(commands)
    memory_options.add(commands, _memory)
    _add_exercises(commands)
    grade_options.add(commands)
    classroom_options.add(commands)
    return parser


def _add_lab(commands: Any) -> None:
    parser = commands.add_parser(
        "lab",
        help="the course in a folder of your own, in JupyterLab",
        description="Bring the course into a folder of your own and open it in JupyterLab. The next time what you have "
        "not touched is brought up to date; what you have changed stays, and a new version comes beside it.",
    )
    parser.add_argument(
        "folder", nargs="?", type=_folder, help="default: the one that you are in, or my_course in this folder"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--solutions", action="store_true", help="open the lessons with their answers and outputs")
    which.add_argument("--reset", type=_word, metavar="LESSON", help="start 03, say, afresh; yours is kept beside it")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--no-browser", action="store_true", help="start JupyterLab, and print where it answers")
    start.add_argument("--no-open", action="store_true", help="only bring the folder up to date")
    parser.set_defaults(command=_lab)


def _add_exercises(commands: Any) -> None:
    parser = commands.add_parser(
        "exercises",
        help="what of the lessons and exercises is done; build exercises of your own",
        description="List what is typed and guessed of each lesson and exercise. With 'build FOLDER': make notebooks "
        "for students, executed solutions and what the grader needs from masters and checks of your own.",
    )
    parser.add_argument("--folder", type=_folder, help="the one of lora-lab lab; default: my_course, if it is there")
    parser.set_defaults(command=_exercises)
    build = parser.add_subparsers(metavar="build").add_parser(
        "build",
        help="notebooks from masters and checks of your own",
        description="Make FOLDER/built from FOLDER/masters/*.py and FOLDER/checks/*.py: exercises without solutions "
        "for students, executed solutions, and what 'lora-lab grade --checks FOLDER' reads. What FOLDER/class.toml "
        "draws is the same each time for one class. Exit status 2 if a solution does not pass its own check.",
    )
    build.add_argument("masters", type=_folder, metavar="FOLDER", help="holds masters, checks and, perhaps, class.toml")
    build.set_defaults(command=_exercises_build)


def _exercises(options: argparse.Namespace) -> int:
    from lora_lab.commands.exercises import progress

    return progress(options.folder)


def _exercises_build(options: argparse.Namespace) -> int:
    from lora_lab.commands.exercises import build

    return build(options.masters)


def _doctor(options: argparse.Namespace) -> int:
    from lora_lab.commands import doctor

    return doctor.run()


def _lab(options: argparse.Namespace) -> int:
    from lora_lab.commands.lab import run

    return run(
        options.folder,
        solutions=options.solutions,
        reset=options.reset,
        browser=not options.no_browser,
        opened=not options.no_open,
    )


def _demo(options: argparse.Namespace) -> int:
    from lora_lab.commands.demo import run

    return run(options.method, options.seed, options.tier, options.out, options.model)


def _memory(options: argparse.Namespace) -> int:
    from lora_lab.commands.memory import run

    return run(options)


if __name__ == "__main__":
    sys.exit(main())
