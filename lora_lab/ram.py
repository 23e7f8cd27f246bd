"""The memory of this machine, as its system tells it."""

from dataclasses import dataclass
from pathlib import Path

_HOST, _OWN, _GROUP = Path("/proc/meminfo"), Path("/proc/self/status"), Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Memory:
    """In bytes, of the machine, or of the container where less is free.

    Attributes:
        total: what there is.
        free: what this process can still take.
        own: what this process holds, without the files that it has mapped, which give way; 0 if that is not known.
    """

    total: int
    free: int
    own: int

    @classmethod
    def now(cls) -> "Memory | None":
        """None where the system does not say."""
        try:
            rows = _rows(_HOST)
            host = _kib(rows["MemTotal"]), _kib(rows["MemAvailable"])
        except (OSError, KeyError, ValueError):
            return None
        total, free = min(host, _container() or host, key=lambda pair: pair[1])
        return cls(total, free, _own())


def free_memory() -> int | None:
    """Bytes that this process can still take, or None where the system does not say."""
    memory = Memory.now()
    return None if memory is None else memory.free


def _container() -> tuple[int, int] | None:
    """Its limit, and what is free of it; None where there is none."""
    try:
        limit, used = ((_GROUP / name).read_text(encoding="utf-8").strip() for name in ("memory.max", "memory.current"))
        rows = dict(row.split() for row in (_GROUP / "memory.stat").read_text(encoding="utf-8").splitlines())
        files = int(rows["inactive_file"]) + int(rows["active_file"])  # that were read, and give way when it is needed
        return None if limit == "max" else (int(limit), int(limit) - int(used) + files)
    except (OSError, KeyError, ValueError):
        return None


def _own() -> int:
    try:
        return _kib(_rows(_OWN)["RssAnon"])
    except (OSError, KeyError, ValueError):
        return 0


def _rows(file: Path) -> dict[str, str]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return {name: value for name, _, value in (line.partition(":") for line in lines)}


def _kib(text: str) -> int:
    return int(text.split()[0]) * 1024
