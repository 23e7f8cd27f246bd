"""What is graded already: one small file for each outcome, written as it comes, so that nothing is graded twice.

Its name is made of all that a verdict depends on. What is damaged or half there is graded again.
"""

import hashlib
import json
import secrets
from pathlib import Path

import lora_lab
from lora_lab import disk
from lora_lab.grading.exercise import Exercise, Sources
from lora_lab.grading.outcome import Outcome, as_json, from_json

_SALT = "salt.json"
_WAY_OUT = "remove it"


class Cache:
    """Outcomes in a folder.

    Its seeds, from which checks draw their inputs, are the same in every run on this folder, so that an interrupted run
    that is started again ends as it would have ended; no student can foresee them, because they are made with a number
    that is drawn once and stays in the folder.
    """

    def __init__(self, folder: str | Path) -> None:
        """Open the folder, or make it.

        Raises:
            OSError: if it cannot be written in.
        """
        self.folder = disk.writable_folder(folder)
        self._salt = self._settled()

    def key(self, sha256: str, exercise: Exercise, sources: Sources, trusted: bool) -> str:
        """The name under which an outcome is kept.

        Args:
            sha256: of the submission.
            exercise: what it is graded as.
            sources: the checks.
            trusted: whether without a sandbox.
        """
        said = [
            exercise.name,
            exercise.tasks,
            sorted(exercise.allow),
            sorted(exercise.points.items()),
            sorted(exercise.stubs.items()),
        ]
        parts = [sha256, said, sources.digest, lora_lab.__version__, trusted]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def seed(self, key: str) -> int:
        """What the checks of this submission draw their inputs from."""
        return int.from_bytes(hashlib.sha256(f"{self._salt} {key}".encode()).digest()[:8], "big") >> 1

    def get(self, key: str, tasks: tuple[str, ...]) -> Outcome | None:
        """The outcome, if it is there and whole."""
        try:
            return from_json(disk.read_json(self._file(key), _WAY_OUT), tasks)
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def put(self, key: str, outcome: Outcome) -> None:
        """Keep an outcome; one with trouble is not kept, so that the next run tries again.

        Raises:
            OSError: if it cannot be written.
        """
        if not outcome.trouble:
            disk.write_json(self._file(key), as_json(outcome))

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def _settled(self) -> str:
        """The number that no student knows; drawn once."""
        file = self.folder / _SALT
        try:
            if isinstance(salt := disk.read_json(file, _WAY_OUT)["salt"], str) and len(salt) == 64:
                return salt
        except (OSError, ValueError, KeyError):
            pass
        salt = secrets.token_hex(32)
        disk.write_json(file, {"salt": salt})
        file.chmod(0o600)
        return salt
