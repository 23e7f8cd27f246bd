"""The fast tests on the oldest versions that pyproject.toml allows: `python tests/colab/lower_bounds.py`.

A bound names a version that exists, was not withdrawn, and fits the others' bounds: pip is asked for exactly these.
torch stays this environment's, since an older one is gigabytes of CUDA; what only checks code, or is a browser, stays
out. Where an old version is wrong and Colab's too, so that no bound can shut it out, the test says so. Arguments are
handed to pytest.
"""

import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.colab.emulated import Environment, outside  # noqa: E402
from tests.run import PYTEST  # noqa: E402

ELSEWHERE = ("torch", "triton", "ruff", "mypy", "playwright")
EXTRAS = ("lab", "real", "cluster", "test")
ROOMS = (
    "adapters",
    "commands",
    "data",
    "disk",
    "exercises",
    "ground",
    "lora",
    "lowrank",
    "memory",
    "methods",
    "models",
    "network",
    "quant",
    "records",
    "show",
    "train",
)
FAST = "not slow and not browser and not real"


def bounds() -> list[str]:
    """Each requirement at its lower bound, as "numpy==2.0"."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = (project["optional-dependencies"][extra] for extra in EXTRAS)
    needs = [Requirement(text) for texts in (project["dependencies"], *extras) for text in texts]
    here = (need for need in needs if need.marker is None or need.marker.evaluate(dict(default_environment())))
    lowest = {need.name: next(part.version for part in need.specifier if part.operator == ">=") for need in here}
    return [f"{name}=={version}" for name, version in lowest.items() if name not in ELSEWHERE]


def main(options: list[str]) -> int:
    try:
        environment = Environment("lower-bounds", bounds(), torch=metadata.version("torch"))
    except RuntimeError as error:
        print(f"The lower bounds of pyproject.toml cannot be installed together: {error}", file=sys.stderr)
        return 1
    rooms = [f"tests/{room}" for room in ROOMS]
    command = [environment.python, "-m", *PYTEST, *rooms, "-m", FAST]
    variables = {**outside(), "PYTHONPATH": str(ROOT)}
    return subprocess.run([*map(str, command), *options], cwd=ROOT, env=variables).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
