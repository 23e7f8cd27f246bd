"""Make a release, in two steps. `make release` stands between them: it tests what the first has written.

    python course/release.py prepare 0.3.0     a commit that says the version, and leads notebooks to its tag
    make release                               tests that commit and writes tests/records/release.json; commit it
    python course/release.py publish           makes what is handed out, in dist/; tags; leads notebooks to the branch

What is tagged is what was tested, byte for byte, but for the record. A step is done whole or not at all: it works in a
worktree of its own, and tag and branch move when all else is there. Nothing is pushed.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from packaging.metadata import Metadata
from packaging.version import InvalidVersion, Version
from tested import git, refuse_untested, tree

from lora_lab.authoring.pages import write

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = {"lora_lab/__init__.py": r'^__version__ = "([^"]+)"', "CITATION.cff": r"^version: (.+)$"}
REF = {"course/repository.toml": r'^ref = "([^"]+)"'}
PAGES = {"book": ("course", "-m book"), "slides": (".", "course/make_slides.py")}  # where, and what makes out/NAME
PACKED = "linux windows mac-arm"  # whose wheels the classroom pack holds, for the Python that makes it
SDIST = """import sys
from setuptools import build_meta
build_meta.build_sdist(sys.argv[1], {"--global-option": ["--quiet"]})"""


def prepare(root: Path, version: str, rebuild: Callable[[Path], None]) -> str:
    """Commit the version's number and where its notebooks lead; return what to do next.

    Raises:
        ValueError: for a tree that is not committed, a version that is none or not newer, a change log that does not
            begin with it, and whatever `rebuild` says. Nothing has changed then.
    """
    tree(root)  # all is committed
    branch = _branch(root)
    refuse_version(root, version)
    with _worktree(root) as copy:
        _set(copy, VERSIONS, version)
        _set(copy, REF, f"v{version}")
        rebuild(copy)
        if not git(copy, "status", "--porcelain"):
            raise ValueError(f"{version} is prepared already: run make release, commit its record, and publish")
        _commit(copy, f"Release {version}\n\nNotebooks lead to its tag.")
        git(root, "merge", "--quiet", "--ff-only", git(copy, "rev-parse", "HEAD"))
    return f"{branch} is {version} now. Run make release, commit the record that it writes, and publish."


def publish(root: Path, rebuild: Callable[[Path], None], make: Callable[[Path, Path], None]) -> str:
    """Make what is handed out, tag the tested commit, and lead the notebooks back to the branch.

    Raises:
        ValueError: for a tree that is not prepared, not committed or not tested, a tag or a folder that is there
            already, and whatever `rebuild` and `make` say. Nothing has changed then.
    """
    refuse_untested(root)
    branch, version = _branch(root), _get(root, VERSIONS)
    tag, handed_out = f"v{version}", root / "dist" / f"v{version}"
    refuse_version(root, version)
    if _get(root, REF) != tag:
        raise ValueError(f"notebooks lead to {_get(root, REF)} and not to {tag}: prepare {version} first")
    if handed_out.exists():
        raise ValueError(f"{handed_out} is there already: delete it, or put it away")
    tested = git(root, "rev-parse", "HEAD")
    with _worktree(root) as copy, tempfile.TemporaryDirectory() as folder:
        made = Path(folder, tag)
        made.mkdir()
        make(copy, made)
        git(copy, "reset", "--quiet", "--hard")  # whatever making it has left there
        _set(copy, REF, branch)  # a lesson that is mended tomorrow opens as it is tomorrow
        rebuild(copy)
        _commit(copy, f"Notebooks lead to {branch} again, after {version}")
        with ExitStack() as undo:
            undo.callback(shutil.rmtree, handed_out, ignore_errors=True)
            shutil.copytree(made, handed_out)
            git(root, "tag", "--annotate", "--message", f"lora_lab {version}", tag, tested)
            undo.callback(git, root, "tag", "--delete", tag)
            git(root, "merge", "--quiet", "--ff-only", git(copy, "rev-parse", "HEAD"))
            undo.pop_all()
    files = "\n".join(f"  {file.name}" for file in sorted(handed_out.iterdir()))
    return f"{tag} is tagged, and dist/{tag} holds\n{files}\nPush it: git push --atomic origin {branch} {tag}"


def refuse_version(root: Path, version: str) -> None:
    """Raises ValueError unless the version can be released: newer than every other, and told of in the change log."""
    try:
        new = Version(version)
    except InvalidVersion:
        raise ValueError(f"{version!r} is no version: give one such as 0.3.0 or 0.3.0rc1") from None
    if str(new) != version or new.local:
        raise ValueError(f"{version!r} is written otherwise: give {new.public}")
    tagged = [Version(tag) for tag in git(root, "tag", "--list", "v[0-9]*").splitlines() if _is_version(tag)]
    if tagged and new <= max(tagged):
        raise ValueError(f"{version} is not newer than the tag v{max(tagged)}: choose a newer version")
    if new < Version(now := _get(root, VERSIONS)):
        raise ValueError(f"{version} is older than {now}, which the package says: choose a newer version")
    headings = re.findall(r"^## (.+)$", (root / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    if headings[:1] != [version]:
        raise ValueError(f"CHANGELOG.md begins with {headings[0] if headings else 'nothing'}: tell there of {version}")


def rebuild(copy: Path) -> None:
    """Bring badges, set-up cells and the guide's addresses up to date; outputs are kept."""
    _python(copy, "course/build.py")
    _python(copy, "course/guide.py")


def make(copy: Path, into: Path, torch_index: str | None = None) -> None:
    """Make what is handed out: source distribution, wheel, book, slides and classroom pack.

    Args:
        copy: a work tree of the release.
        into: an empty folder.
        torch_index: where the pack's torch for Linux comes from, if the usual index brings CUDA along.

    Raises:
        ValueError: if something cannot be made; what made it has said why.
    """
    name = f"lora_lab-{_get(copy, VERSIONS)}"
    make_packages(copy, into)
    for kind, (place, command) in PAGES.items():
        _python(copy, *command.split(), place=place)
        shutil.make_archive(str(into / f"{name}-{kind}"), "zip", copy / "out" / kind)
    pack = ["-m", "lora_lab.commands.cli", "classroom", "pack", str(into / f"{name}-classroom.zip"), "--platform"]
    _python(copy, *pack, *PACKED.split(), *(["--torch-index", torch_index] if torch_index else []))


def make_packages(copy: Path, into: Path) -> None:
    """Make the source distribution, and from it the wheel, so that both hold what is needed.

    Raises:
        ValueError: if one cannot be made, or says something that a package index refuses.
    """
    _python(copy, "-c", SDIST, str(into))
    [source] = into.glob("*.tar.gz")
    _python(copy, *"-m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir".split(), str(into), str(source))
    shutil.unpack_archive(source, copy / "out", filter="data")
    said = copy / "out" / source.name.removesuffix(".tar.gz") / "PKG-INFO"
    try:
        Metadata.from_email(said.read_bytes(), validate=True)
    except ExceptionGroup as wrong:
        raise ValueError("; ".join(map(str, wrong.exceptions))) from wrong


def main(arguments: list[str] | None = None) -> int:
    """The command line: 0 when it is done, 2 with a sentence when nothing was."""
    parser = argparse.ArgumentParser(description="Make a release, in two steps with `make release` between them.")
    steps = parser.add_subparsers(dest="step", required=True)
    first = steps.add_parser("prepare", help="commit the version, and lead notebooks to its tag")
    first.add_argument("version", help="such as 0.3.0")
    last = steps.add_parser("publish", help="make what is handed out, and tag what was tested")
    last.add_argument("--torch-index", metavar="URL", help="as for lora-lab classroom pack")
    options = parser.parse_args(arguments)
    try:
        if options.step == "prepare":
            said = prepare(ROOT, options.version, rebuild)
        else:
            said = publish(ROOT, rebuild, partial(make, torch_index=options.torch_index))
    except (ValueError, OSError) as error:
        print(f"nothing is done: {error}", file=sys.stderr)
        return 2
    print(said)
    return 0


@contextmanager
def _worktree(root: Path) -> Iterator[Path]:
    """A second work tree of the last commit, outside the first, for as long as the context lasts."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "worktree")
        git(root, "worktree", "add", "--quiet", "--detach", copy, "HEAD")
        try:
            yield copy
        finally:
            git(root, "worktree", "remove", "--force", copy)


def _branch(root: Path) -> str:
    if branch := git(root, "branch", "--show-current"):
        return branch
    raise ValueError("no branch is checked out: git switch to the one that is released")


def _commit(copy: Path, message: str) -> None:
    git(copy, "commit", "--quiet", "--all", "--message", message)


def _get(root: Path, places: dict[str, str]) -> str:
    """What stands in all of the places.

    Raises:
        ValueError: if it is not the same in all, or does not stand once.
    """
    found = {file: re.findall(line, _text(root / file), re.MULTILINE) for file, line in places.items()}
    if len({str(each) for each in found.values()}) > 1 or any(len(each) != 1 for each in found.values()):
        raise ValueError(f"one value is wanted, and there is {found}: mend the files")
    return str(next(iter(found.values()))[0])


def _set(root: Path, places: dict[str, str], value: str) -> None:
    _get(root, places)
    for file, line in places.items():
        text = _text(root / file)
        match = re.search(line, text, re.MULTILINE)
        assert match is not None
        write(root / file, text[: match.start(1)] + value + text[match.end(1) :])


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _is_version(text: str) -> bool:
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


def _python(copy: Path, *arguments: str, place: str = ".") -> None:
    """Run Python at a place in the copy, with its library in place of the installed one."""
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    done = subprocess.run([sys.executable, *arguments], cwd=copy / place, env=environment)
    if done.returncode:
        raise ValueError(f"python {' '.join(arguments)[:80]} ended with status {done.returncode}, and said why above")


if __name__ == "__main__":
    sys.exit(main())
