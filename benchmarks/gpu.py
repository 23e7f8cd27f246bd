"""All that is measured on a GPU, in one command and under ten minutes; on a CPU the same at toy size.

    python benchmarks/gpu.py                                  # writes results/gpu.json and README.md
    python benchmarks/gpu.py --only quantize equal            # some sections; the others stay as the file has them
    python benchmarks/gpu.py --join first.json second.json    # one file out of several runs

Each section runs in a process of its own with a time limit, and each row is written as soon as it is there: what
crashes, does not fit or takes too long loses nothing but itself. The file says of every section what became of it.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterable
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import torch  # noqa: E402
from on_gpu.common import Run, Skip  # noqa: E402

from lora_lab.commands import installed, machine  # noqa: E402
from lora_lab.disk import read_json, write_json  # noqa: E402
from lora_lab.units import first_line  # noqa: E402

RESULT = HERE / "results" / "gpu.json"
TOY = HERE.parent / "out" / "gpu_toy.json"
SECTIONS = {  # name: module and function; and the seconds that it may take, on a GPU
    "bandwidth": ("on_gpu.speed:bandwidth", 30),
    "quantize": ("on_gpu.speed:quantize", 45),
    "dequantize": ("on_gpu.speed:dequantize", 45),
    "kernels": ("on_gpu.speed:kernels", 60),
    "one_token": ("on_gpu.one_token:rows", 60),
    "equal": ("on_gpu.equal:rows", 45),
    "amortise": ("on_gpu.steps:amortise", 50),
    "memory": ("bench_memory_cuda:rows", 90),
    "qlora_step": ("on_gpu.steps:qlora_step", 200),
    "real": ("on_gpu.real:rows", 160),
    "lesson": ("on_gpu.lesson:rows", 150),
    "paged": ("on_gpu.paged:rows", 60),
}
QUIET = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "PYTHONWARNINGS": "ignore"}


def main(arguments: list[str] | None = None) -> int:
    """The command line: 0 when all is well, 1 for a section that failed or was stopped, 2 for what cannot be read or
    written, in one sentence."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=SECTIONS, metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--seconds", type=_seconds, help="limit of each section, instead of its own")
    parser.add_argument("--toy", action="store_true", help="toy sizes on the CPU, as without a GPU")
    parser.add_argument("--real", type=Path, help="folder of SmolLM2-135M-Instruct, as a GGUF file or as saved")
    parser.add_argument("--out", type=Path, help="where the JSON goes, instead; README.md is left alone")
    parser.add_argument("--join", nargs="+", type=Path, help="files of earlier runs; later ones win")
    parser.add_argument("--section", choices=SECTIONS, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    toy = args.toy or not torch.cuda.is_available()
    if args.section:
        return _measure(args.section, Run("cpu" if toy else "cuda", toy, args.seconds, args.real))
    if args.real and not args.real.is_dir():
        parser.error(f"--real: there is no folder '{args.real}'")
    out = args.out or (TOY if toy and not args.join else RESULT)
    if out.is_dir():
        parser.error(f"--out: '{out}' is a folder, name a file in it")
    try:
        return _made(args, out, toy)
    except (ValueError, OSError) as error:
        print(f"gpu.py: {error}", file=sys.stderr)
        return 2


def _made(args: argparse.Namespace, out: Path, toy: bool) -> int:
    """Do what was asked for; 1 if a section of it failed or was stopped. What else the file has does not count."""
    if args.join:
        record = joined(map(stored, args.join))
        names = list(record["sections"])
        _write(out, record)
    else:
        names = args.only or list(SECTIONS)
        record = stored(out) if args.only and out.exists() else {"sections": {}}
        record |= {"machine": describe(toy), "toy": toy, "command": command(names)}
        _write(out, record)  # what cannot be written is known before anything is measured
        for name in names:
            _run(name, record, out, args.seconds or SECTIONS[name][1] * (4 if toy else 1), toy, args.real)
    if out == RESULT:
        import report

        report.write()
    return int(any(record["sections"][name]["status"].startswith(("failed", "stopped")) for name in names))


def stored(path: Path) -> dict[str, Any]:
    """What an earlier run has written.

    Raises:
        OSError, ValueError: for a file that is missing, damaged, or another's.
    """
    way_out = "name a file that gpu.py wrote"
    record = read_json(path, way_out, finite=False)
    sections = record.get("sections")
    if not isinstance(sections, dict) or not all(
        isinstance(section, dict) and isinstance(section.get("status"), str) for section in sections.values()
    ):
        raise ValueError(f"{path} has no sections with a status each: {way_out}")
    return record


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no time: give seconds, such as 60")
    return seconds


def describe(toy: bool) -> dict[str, Any]:
    """The machine, with all that decides speed and memory on a GPU."""
    found = machine.describe() | {
        name: installed.version(name) or "not installed" for name in ("bitsandbytes", "triton")
    }
    if not toy:
        properties = torch.cuda.get_device_properties(0)
        found |= {"gpu_bytes": properties.total_memory, "multiprocessors": properties.multi_processor_count,
                  "capability": ".".join(map(str, torch.cuda.get_device_capability(0))),
                  "cuda": torch.version.cuda, "driver": _driver()}  # fmt: skip
    return found


def command(sections: Iterable[str]) -> str:
    """What measures these sections, on any machine."""
    names = list(sections)
    parts = ["python benchmarks/gpu.py", *(["--only", *names] if set(names) != set(SECTIONS) else [])]
    return " ".join([*parts, *(["--real FOLDER"] if "real" in names else [])])


def joined(records: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """One record; a section that was measured more than once is the last one's, unless that was skipped."""
    whole: dict[str, Any] = {}
    for record in records:
        sections = whole.get("sections", {})
        commands = [whole["command"]] if whole else []  # of each run, by its sections, whatever its file says
        for name, section in record["sections"].items():
            if not (name in sections and section["status"].startswith("skipped")):
                sections[name] = section
        whole = record | {"sections": sections, "command": "; ".join([*commands, command(record["sections"])])}
    return whole


def _run(name: str, record: dict[str, Any], out: Path, seconds: float, toy: bool, real: Path | None) -> None:
    """One section in a process of its own; `record` is written after each of its rows."""
    started = time.perf_counter()
    section: dict[str, Any] = {
        "status": "",
        "date": date.today().isoformat(),
        "on": record["machine"]["gpu"],
        "rows": [],
    }
    record["sections"][name] = section
    asked = [sys.executable, str(HERE / "gpu.py"), "--section", name, "--seconds", f"{seconds:g}"]
    asked += ["--toy"] * toy + (["--real", str(real)] if real else [])
    stopped = threading.Event()
    with subprocess.Popen(asked, env=os.environ | QUIET, stdout=subprocess.PIPE, text=True) as child:

        def stop() -> None:
            stopped.set()
            child.kill()

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timer.start()
        try:
            for line in child.stdout or ():
                said = json.loads(line)
                section["rows"] += [said["row"]] if "row" in said else []
                section["status"] = said.get("status", "")
                _write(out, record)
            child.wait()
        finally:  # a disk that is full ends the run, and not only when the section's time is over
            timer.cancel()
            child.kill()
    if stopped.is_set():
        section["status"] = f"stopped after {seconds:g} s; what was measured until then stands"
    elif not section["status"]:
        section["status"] = f"failed: the process ended with status {child.returncode}"
    section["seconds"] = round(time.perf_counter() - started, 1)
    _write(out, record)
    print(f"{name:12}{section['seconds']:7.1f} s  {len(section['rows']):3} rows  {section['status']}", flush=True)


def _measure(name: str, run: Run) -> int:
    """In the section's process: rows go to the parent, whatever else is printed goes to stderr."""
    with os.fdopen(os.dup(1), "w", buffering=1) as parent:
        os.dup2(2, 1)
        try:
            module, _, function = SECTIONS[name][0].partition(":")
            for row in getattr(import_module(module), function)(run):
                print(json.dumps({"row": row}), file=parent)
            status = "done"
        except Skip as reason:
            status = f"skipped: {reason}"
        except Exception as error:
            traceback.print_exc()
            status = f"failed: {type(error).__name__}: {first_line(error)}"
        print(json.dumps({"status": status}), file=parent)
    return 0


def _write(out: Path, record: dict[str, Any]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, record, finite=False)


def _driver() -> str:
    asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, timeout=20).stdout.partition("\n")[0].strip()
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"


if __name__ == "__main__":
    sys.exit(main())
