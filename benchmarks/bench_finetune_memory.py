"""How much memory `lora-lab finetune` takes on a CPU beside what its verdict counts, by which its margins are set.

    python -m benchmarks.bench_finetune_memory                                    # the embedded base
    python -m benchmarks.bench_finetune_memory --model FOLDER --batch-sizes 2 8   # another one

Each row is a process of its own, which trains a few steps. Its peak is that of its resident memory, less what it had
when the verdict was given: the verdict compares with what is free at that moment. The machine may be busy.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from lora_lab.units import GB, METHODS

STEPS = 2
WORDS = "ant bee cow dog elk fox gnu hen".split()


def main() -> None:
    """Print a line per method and batch size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8])
    parser.add_argument("--words", type=int, nargs="+", default=[40], help="of a prompt")
    parser.add_argument("--child", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _child(options.child)
        return
    print(f"{'method':7}{'batch':>6}{'words':>6}{'tensors':>9}{'taken':>8}{'beside':>8}{'verdict, GB':>14}")
    for words in options.words:
        for batch in options.batch_sizes:
            for method in METHODS:
                row = _measured(options.model, method, batch, words)
                low, high = (size / GB for size in row["needed"])
                print(
                    f"{method:7}{batch:>6}{words:>6}{row['tensors'] / GB:>9.2f}{row['taken'] / GB:>8.2f}"
                    f"{(row['taken'] - row['tensors']) / GB:>8.2f}{low:>8.2f} to {high:.2f}",
                    flush=True,
                )


def _measured(model: str, method: str, batch: int, words: int) -> dict[str, int]:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data.jsonl"
        rows = [{"prompt": f"{i} {' '.join(WORDS[i % 8 :] * (words // 4))}", "answer": WORDS[i % 8]} for i in range(40)]
        data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        given = ["--data", str(data), "--method", method, "--batch-size", str(batch), "--steps", str(STEPS)]
        command = [sys.executable, "-m", "benchmarks.bench_finetune_memory", "--child", "finetune", model, *given]
        done = subprocess.run([*command, "--force", "--out", f"{folder}/out"], capture_output=True, text=True)
    found = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not found:
        sys.exit(done.stderr)
    return json.loads(found[-1])


def _child(words: list[str]) -> None:
    from lora_lab.commands import cli, finetune, finetune_room

    said: dict[str, int] = {}
    asked = finetune_room.room

    def room(*arguments):
        verdict = asked(*arguments)
        said.update(needed=verdict.needed, tensors=finetune_room.tensors(*arguments), before=_resident())
        return verdict

    finetune.room = room
    cli.main(words)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print("\n" + json.dumps({**said, "taken": peak - said["before"]}))


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
