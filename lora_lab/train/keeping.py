"""A run that can be gone on with: all that it is between two steps, in a folder.

The state is that of a moment when nothing was half done. A run that was killed and goes on from there is, bit for bit,
the one that was not: weights, optimizer, random numbers, the place in the data, the best weights so far, the history.
"""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lora_lab.disk import writable_folder
from lora_lab.ranges import brief
from lora_lab.train import fingerprints, packing
from lora_lab.train.history import History
from lora_lab.train.interruptions import held_back
from lora_lab.train.restoring import moved
from lora_lab.train.stream import Stream

WAY_OUT = "begin again in another folder, or delete this one"


@dataclass
class State:
    """What changes in a run.

    Attributes:
        model: its parameters and buffers move.
        parameters: those that train.
        optimizers: with what they remember.
        scaler: of the loss, over a float16 base.
        stream: the batches.
        history: so far.
        best: with patience, copies of `restoring.moved` at the best evaluation; else empty.
    """

    model: nn.Module
    parameters: Sequence[nn.Parameter]
    optimizers: Sequence[Optimizer]
    scaler: torch.amp.GradScaler
    stream: Stream[Any]
    history: History
    best: list[Tensor]

    @property
    def so_far(self) -> tuple[int, int]:
        """Steps and evaluations."""
        return len(self.history.losses), len(self.history.evaluations)

    def tree(self) -> dict[str, Any]:
        """As `packing.write` takes it, but for the place in the data and the random numbers, which `place` has."""
        return {
            "weights": list(moved(self.model, self.parameters)),
            "best": self.best,
            "optimizers": [_of_optimizer(one) for one in self.optimizers],
            "scaler": self.scaler.state_dict(),
            "history": asdict(self.history),
        }

    def place(self) -> dict[str, Any]:
        """Where the run stands in its data and its random numbers."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
        return {"data": self.stream.position, "random": {"cpu": torch.get_rng_state(), "cuda": cuda}}

    def restore(self, tree: Mapping[str, Any]) -> None:
        """Become what was written.

        Raises:
            ValueError: if the batches are others; nothing but the stream has changed then.
        """
        self.stream.go_to(tree["data"])
        with torch.no_grad():
            for tensor, value in zip(moved(self.model, self.parameters), tree["weights"], strict=True):
                if not torch.equal(tensor.cpu(), value):  # a frozen one is not written to
                    tensor.copy_(value)
        self.best[:] = [
            value.to(tensor.device) for tensor, value in zip(moved(self.model, self.parameters), tree["best"])
        ]
        for optimizer, kept in zip(self.optimizers, tree["optimizers"], strict=True):
            _restore_optimizer(optimizer, kept)
        self.scaler.load_state_dict(tree["scaler"])
        self.history.restore(tree["history"])
        torch.set_rng_state(tree["random"]["cpu"])
        if tree["random"]["cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(tree["random"]["cuda"])


class Keeper:
    """Writes a run's state to a folder and takes it up from there; without a folder it does nothing.

    Args:
        folder: where the state lies, or is to.
        every: steps between two saves.
        identity: what the run is; a state of another run is refused.
        state: of the run.

    Raises:
        ValueError: for a folder with the state of another run, naming a difference, or a damaged one.
        OSError: for a folder that cannot be written in.
    """

    def __init__(self, folder: str | Path | None, every: int, identity: Mapping[str, Any], state: State) -> None:
        self._folder = None if folder is None else writable_folder(folder)
        self._every, self._identity, self._state = every, _as_json(identity), state
        self._place: dict[str, Any] = {}
        self._whole = True
        self._saved: tuple[int, int] | None = None
        self._tried = 0  # the step of the last try to save
        if self._folder is None:
            return
        if (self._folder / packing.DOCUMENT).exists():
            require_same(self._folder, self._identity)
            tree = packing.read(self._folder, WAY_OUT)
            with _as_written(self._folder):
                state.restore(tree)
            self._saved = state.so_far
        self._tried = state.so_far[0]
        self._place = state.place()

    @contextmanager
    def whole(self) -> Iterator[None]:
        """The block is in the state as a whole, or not at all."""
        if self._folder is None:
            yield
            return
        with held_back():
            self._whole = False
            yield
            self._place = self._state.place()
            self._whole = True

    @contextmanager
    def saving(self) -> Iterator[None]:
        """After the block, or an interruption in it, the state is saved."""
        try:
            yield
            self._save()
        except KeyboardInterrupt:
            if self._whole:  # else within a step, at a second Ctrl-C: the last save must do
                self._save()
            raise

    def save_if_due(self) -> None:
        """Save every so many steps; where a disk was full, not again before as many more."""
        if self._state.so_far[0] - self._tried >= self._every:
            self._save()

    def _save(self) -> None:
        """A disk that is full costs the way back, not the run."""
        if self._folder is None or self._saved == self._state.so_far:
            return
        self._tried = self._state.so_far[0]
        try:
            packing.write(self._folder, {"identity": self._identity, **self._place, **self._state.tree()})
            self._saved = self._state.so_far
        except OSError as error:
            warnings.warn(f"step {self._state.so_far[0]} of the run is not kept: {error}", stacklevel=2)


def steps_done(folder: str | Path) -> int | None:
    """How many steps the run whose state lies in a folder has done; None if there is no state.

    Raises:
        OSError, ValueError: if the state cannot be read.
    """
    if not (Path(folder) / packing.DOCUMENT).exists():
        return None
    document = packing.read_document(folder, WAY_OUT)
    with _as_written(folder):
        return len(document["history"]["losses"])


@contextmanager
def _as_written(folder: str | Path) -> Iterator[None]:
    """What a state lacks, or has of another kind, is a ValueError that names its file."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        file = Path(folder) / packing.DOCUMENT
        raise ValueError(f"{file} is damaged (it is not what was written): {WAY_OUT}") from error


def require_same(folder: str | Path, identity: Mapping[str, Any]) -> None:
    """Refuse the state of another run. Only what both name is compared.

    Raises:
        ValueError: naming the first thing in which they differ.
        OSError: if the state cannot be read.
    """
    there, here = packing.read_document(folder, WAY_OUT).get("identity", {}), _as_json(identity)
    for name in here:
        with _as_written(folder):
            differs = name in there and here[name] != there[name]
        if differs:
            raise ValueError(f"the run in '{folder}' {_difference(name, there[name], here[name])}: {_GO_ON}")


_GO_ON = "to go on with it give what it was begun with, else choose another folder"


def _difference(name: str, there: Any, here: Any) -> str:
    if " " in name:  # a fingerprint, whose digits say nothing
        return f"has other {name} than this one"
    return f"was begun with {name}={_said(there)}, and this one has {name}={_said(here)}"


def _said(value: Any) -> str:
    return value if isinstance(value, str) and len(value) < 80 else brief(value)


def identity_of(
    model: nn.Module, named: Sequence[tuple[str, nn.Parameter]], optimizers: Sequence[Optimizer], **settings: Any
) -> dict[str, Any]:
    """What a run must share with the one that it goes on from: settings, optimizers, the weights that stay."""
    trained = {id(parameter) for _, parameter in named}
    shapes = [(str(tensor.dtype), list(tensor.shape)) for tensor in moved(model, [p for _, p in named])]
    frozen = ((name, p) for name, p in model.named_parameters() if id(p) not in trained)
    return {
        **settings,
        "optimizer": [_of_groups(one) for one in optimizers],
        "trainable weights": fingerprints.of_values([name for name, _ in named], shapes),
        "frozen weights": fingerprints.of_weights(frozen),
    }


def _of_groups(optimizer: Optimizer) -> str:
    return f"{type(optimizer).__name__} {_options(optimizer)}"


def _options(optimizer: Optimizer) -> list[dict[str, Any]]:
    """What each group says, such as its rate, without its parameters."""
    return [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]


def _of_optimizer(optimizer: Optimizer) -> dict[str, Any]:
    """What it remembers of each weight, in the order of its groups, and what the groups say."""
    states = [dict(optimizer.state.get(p, {})) for group in optimizer.param_groups for p in group["params"]]
    return {"groups": _options(optimizer), "states": states}


def _restore_optimizer(optimizer: Optimizer, kept: Mapping[str, Any]) -> None:
    """Not by `load_state_dict`, which casts what it remembers to the dtype of the weight."""
    for group, values in zip(optimizer.param_groups, kept["groups"], strict=True):
        for key, value in values.items():
            group[key] = tuple(value) if isinstance(group.get(key), tuple) else value
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for parameter, values in zip(parameters, kept["states"], strict=True):
        optimizer.state[parameter] = {key: _beside(parameter, value) for key, value in values.items()}


def _beside(parameter: nn.Parameter, value: Any) -> Any:
    """On the parameter's device, but for single numbers such as AdamW's count of steps, which torch keeps on the CPU
    unless the optimizer runs in a CUDA graph."""
    return value.to(parameter.device) if isinstance(value, Tensor) and value.ndim else value


def _as_json(identity: Mapping[str, Any]) -> dict[str, Any]:
    """As it comes back from a file."""
    return json.loads(json.dumps(dict(identity)))
