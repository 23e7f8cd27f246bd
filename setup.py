"""What pyproject.toml cannot say: a wheel carries the lessons and documents, which lie outside the package here."""

import runpy
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
MATERIAL = runpy.run_path(str(HERE / "lora_lab" / "commands" / "delivery" / "material.py"))


class BuildWithMaterial(build_py):
    """Copies the material into the package that is built; an editable one finds it in the checkout."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        inside = Path(self.build_lib, "lora_lab", MATERIAL["SHIPPED"])
        shutil.rmtree(inside, ignore_errors=True)  # of an earlier build, with lessons that have other names now
        for file in MATERIAL["files"](HERE):
            (inside / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(HERE / file, inside / file)


setup(cmdclass={"build_py": BuildWithMaterial})
