"""Which tree has been tested: `make release` writes it down, and a release asks for it.

The record names the tree by one number over all its files but the record itself, so that it can lie in the tree that it
names. Where sha256sum is, anyone can see that a release was tested:

    git ls-tree -r v0.3.0 | grep -v tests/records/release.json | sha256sum
"""

import hashlib
import subprocess
from collections.abc import Mapping
from pathlib import Path

from lora_lab import disk

RECORD = "tests/records/release.json"


def git(root: Path, *arguments: str | Path) -> str:
    """What a git command prints, without the last line's end.

    Raises:
        ValueError: if it fails, with its own words.
    """
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode:
        raise ValueError(f"git {arguments[0]}: {(done.stderr or done.stdout).strip()}")
    return done.stdout.removesuffix("\n")


def uncommitted(root: Path) -> list[str]:
    """The files that differ from the last commit, new ones that git does not ignore among them."""
    return [line[3:] for line in git(root, "status", "--porcelain", "--untracked-files=all").splitlines()]


def tree(root: Path) -> str:
    """The number of the tree that is committed, and of nothing else.

    Raises:
        ValueError: if something is not committed, which no commit would hold.
    """
    if open_ends := uncommitted(root):
        more = f" and {len(open_ends) - 3} more" if len(open_ends) > 3 else ""
        raise ValueError(f"not committed: {', '.join(open_ends[:3])}{more}; commit it, or put it away")
    lines = git(root, "ls-tree", "-r", "HEAD").splitlines()
    return hashlib.sha256(
        "".join(f"{line}\n" for line in lines if not line.endswith(f"\t{RECORD}")).encode()
    ).hexdigest()


def record(root: Path, number: str, seconds: Mapping[str, float], machine: Mapping[str, object]) -> None:
    """Write down that the tree of that number passed every part.

    Raises:
        ValueError: if it is not the tree that lies there now.
    """
    if tree(root) != number:
        raise ValueError("the tree is not the one that the tests began with: run them again")
    content = {
        "tree": number,
        "commit": git(root, "rev-parse", "HEAD"),
        "seconds": {part: round(each) for part, each in seconds.items()},
        "machine": dict(machine),
    }
    disk.write_json(root / RECORD, content)


def refuse_untested(root: Path) -> None:
    """Raises ValueError unless the record is of the tree that is committed."""
    way_out = "run make release, and commit the record that it writes"
    if uncommitted(root) == [RECORD]:
        raise ValueError(f"{RECORD} is not committed: git add {RECORD}, and commit it alone")
    number = tree(root)
    if not (root / RECORD).is_file():
        raise ValueError(f"nothing says that this tree was tested (there is no {RECORD}): {way_out}")
    if disk.read_json(root / RECORD, way_out).get("tree") != number:
        raise ValueError(f"{RECORD} is of another tree, so this one has not been tested: {way_out}")
