"""The options of `lora-lab classroom`; what runs it is imported when it runs."""

import argparse
from pathlib import Path
from typing import Any

from lora_lab.commands.arguments import folder, word

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS = ("linux", "linux-arm", "windows", "mac-arm")


def add(commands: Any) -> None:
    """Add the command to the parser's commands."""
    parser = commands.add_parser(
        "classroom",
        help="the course for a room without a network, as one zip",
        description="For who teaches. With 'pack': one zip, from which the course is installed without a network.",
    )
    parser.set_defaults(command=lambda _: _what(parser))
    pack = parser.add_subparsers(metavar="pack").add_parser(
        "pack",
        help="one zip with the course, all that it needs, and the real model",
        description="Make one zip for a room without a network: the course's wheel and those of all that it needs, in "
        "the versions that it was tested with, for each Python and platform; workbook and exercises; the real model; "
        "checksums; and install.py, which needs nothing but Python. What is fetched stays in a folder, so that an "
        "interrupted run goes on, and the same command makes the same zip.",
    )
    pack.add_argument("out", nargs="?", type=folder, metavar="OUT.zip", help="default: named after what is in it")
    pack.add_argument(
        "--python", nargs="+", choices=PYTHONS, metavar="3.12", help=f"of {', '.join(PYTHONS)}; default: this one"
    )
    pack.add_argument(
        "--platform",
        nargs="+",
        choices=PLATFORMS,
        metavar="NAME",
        help=f"of {', '.join(PLATFORMS)}; default: this one (torch has nothing for Macs with Intel's processors)",
    )
    pack.add_argument(
        "--torch-index",
        type=word,
        metavar="URL",
        help="where torch for Linux comes from: the one of most indexes brings gigabytes of CUDA; "
        "https://download.pytorch.org/whl/cpu has none",
    )
    pack.add_argument("--with-cuda", action="store_true", help="take those gigabytes, for rooms with GPUs")
    pack.add_argument("--index", type=word, metavar="URL", help="in place of the one that pip is configured with")
    pack.add_argument(
        "--find-links",
        type=folder,
        nargs="+",
        metavar="FOLDER",
        default=(),
        help="wheels of your own, looked at first: for a package that has only its source, say",
    )
    pack.add_argument(
        "--extra", nargs="+", type=word, metavar="NAME", default=(), help="of the course's extras, beside lab and real"
    )
    pack.add_argument("--without-model", action="store_true", help="leave the real model out (93 MB)")
    pack.add_argument(
        "--exercises", type=folder, metavar="FOLDER", help="your own, as 'lora-lab exercises build FOLDER' made them"
    )
    pack.add_argument("--wheel", type=folder, metavar="FILE", help="the course's own; default: built from the checkout")
    pack.add_argument(
        "--cache",
        type=folder,
        default=Path("out/pack"),
        metavar="FOLDER",
        help="where what is fetched stays; default: %(default)s",
    )
    pack.set_defaults(command=_pack)


def _what(parser: argparse.ArgumentParser) -> int:
    parser.error("say what: pack")


def _pack(options: argparse.Namespace) -> int:
    from lora_lab.classroom.packing import Places
    from lora_lab.commands.classroom import pack

    return pack(
        options.out,
        pythons=options.python,
        platforms=options.platform,
        places=Places(options.index, options.torch_index, options.find_links),
        extras=options.extra,
        with_cuda=options.with_cuda,
        with_model=not options.without_model,
        exercises=options.exercises,
        wheel=options.wheel,
        cache=options.cache,
    )
