"""The memory of this machine, as its system tells it."""

from pathlib import Path


def free_memory() -> int | None:
    """Bytes that this process can still take, or None where the system does not say."""
    try:
        rows = dict(row.split(":", 1) for row in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines())
        free = int(rows["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
    try:  # a container has less than its host
        group = Path("/sys/fs/cgroup")
        limit, used = ((group / name).read_text(encoding="utf-8").strip() for name in ("memory.max", "memory.current"))
        rows = dict(row.split() for row in (group / "memory.stat").read_text(encoding="utf-8").splitlines())
        files = int(rows["inactive_file"]) + int(rows["active_file"])  # that were read, and give way when it is needed
        return free if limit == "max" else min(free, int(limit) - int(used) + files)
    except (OSError, KeyError, ValueError):
        return free
