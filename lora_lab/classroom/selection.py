"""Which wheels a target needs: from the course's requirements to theirs, each in the version that was tested.

Every version is known beforehand, from constraints.txt, so nothing has to be resolved: what is needed is a closure.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from packaging.metadata import RawMetadata
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from lora_lab.classroom.shelf import Shelf
from lora_lab.classroom.targets import Target
from lora_lab.network import Offer
from lora_lab.units import GB

INSTALLER = Requirement("pip")  # in every pack: a Python may come without, and Debian's does
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
_CUDA = ("nvidia-", "cuda-")  # what torch's CUDA builds bring, in versions that torch says itself
_AT_ONCE = 8


@dataclass
class Selection:
    """The wheels of one target, by package."""

    target: Target
    wheels: dict[str, Offer] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return sum(offer.size or 0 for offer in self.wheels.values())

    @property
    def cuda(self) -> dict[str, Offer]:
        """Those that only torch's CUDA builds need."""
        return {project: offer for project, offer in self.wheels.items() if project.startswith(_CUDA)}


def pins(constraints: str) -> dict[str, Version]:
    """Package → version, of lines `name==version`.

    Raises:
        ValueError: for a line that says something else.
    """
    found = {}
    for line in filter(None, (line.partition("#")[0].strip() for line in constraints.splitlines())):
        name, _, version = line.partition("==")
        try:
            found[str(canonicalize_name(name))] = Version(version)
        except ValueError:
            raise ValueError(f"constraints.txt holds {line!r}: each line must be name==version") from None
    return found


def select(target: Target, asked: Iterable[Requirement], known: Mapping[str, Version], shelf: Shelf) -> Selection:
    """What must be installed on a target so that `asked` is.

    Args:
        target: for which.
        asked: what the course needs.
        known: the version of each package.
        shelf: what there is.

    Raises:
        ConnectionError: if no index answers.
        ValueError: if a package has no version that is known, no wheel for the target, or another is needed.
    """
    found = Selection(target)
    seen: dict[str, frozenset[str]] = {}
    level = [*asked, INSTALLER]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        while level := _not_seen(level, seen):
            offers = list(pool.map(lambda need: shelf.choose(need, _version(need, known, target), target), level))
            metadata = list(pool.map(shelf.metadata, offers))
            for need, offer, said in zip(level, offers, metadata):
                _refuse_another_python(need, said, target)
                found.wheels[str(canonicalize_name(need.name))] = offer
            level = [
                each
                for need, said in zip(level, metadata)
                for each in needs(said, seen[str(canonicalize_name(need.name))], target)
            ]
    return found


def needs(metadata: RawMetadata, extras: Collection[str], target: Target) -> list[Requirement]:
    """What a package with these extras needs on a target, without markers."""
    found = []
    for text in metadata.get("requires_dist", ()):
        try:
            need = Requirement(text)
        except InvalidRequirement:
            raise ValueError(f"{metadata.get('name')} says that it needs {text!r}, which is no requirement") from None
        if target.needs(need.marker, frozenset(extras)):
            found.append(need)
    return found


def refuse_cuda(selections: Sequence[Selection]) -> None:
    """Raises ValueError, with the sizes, if a torch for GPUs would come along."""
    for selection in selections:
        if cuda := selection.cuda:
            torch = selection.wheels.get("torch")
            size = sum(offer.size or 0 for offer in [*cuda.values(), *([torch] if torch else [])])
            raise ValueError(
                f"{torch.name if torch else 'torch'} brings {len(cuda)} nvidia and cuda wheels, {size / GB:.1f} GB "
                f"with itself, for {selection.target}: give --torch-index {CPU_INDEX}, whose torch needs none, or "
                "--with-cuda to take them"
            )


def _not_seen(level: Iterable[Requirement], seen: dict[str, frozenset[str]]) -> list[Requirement]:
    """One requirement for each package that was not asked before, or not with these extras; they are then."""
    new: dict[str, Requirement] = {}
    for need in level:
        name = str(canonicalize_name(need.name))
        extras = seen.get(name, frozenset()) | {*map(canonicalize_name, need.extras)}
        if name not in seen or extras != seen[name]:
            new[name] = need
        seen[name] = extras
    return list(new.values())


def _version(need: Requirement, known: Mapping[str, Version], target: Target) -> SpecifierSet:
    """The one version that was tested; of what torch's CUDA builds bring, what they say."""
    name = str(canonicalize_name(need.name))
    if name not in known:
        if name.startswith(_CUDA):
            return need.specifier
        raise ValueError(f"constraints.txt has no version of {need.name}, which {target} needs: add a line {need}")
    if not need.specifier.contains(known[name], prereleases=True):
        raise ValueError(
            f"constraints.txt has {need.name} {known[name]}, and {need} is needed for {target}: correct one of the two"
        )
    return SpecifierSet(f"=={known[name]}")


def _refuse_another_python(need: Requirement, metadata: RawMetadata, target: Target) -> None:
    asked = metadata.get("requires_python", "")
    if not SpecifierSet(asked).contains(f"{target.python}.99"):
        raise ValueError(
            f"{need.name} {metadata.get('version')} needs Python {asked}, and not {target.python}: leave that one out"
        )
