"""Where the names of the last release are now: each old one works for one release more, and warns.

For a module that moved, a stand-in lies in `sys.modules`, where an import looks first. So importing an old name loads
no file and sets nothing in the package above it: `from lora_lab.memory.estimate import at_rest` works, while
`lora_lab.memory.estimate` stays the function. A module that is still there, but lost single names, gets a `__getattr__`
for them when it is imported.
"""

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import CodeType, ModuleType

MOVED = {
    "lora_lab.cli": "lora_lab.commands.cli",
    "lora_lab.console": "lora_lab.commands.console",
    "lora_lab.demo": "lora_lab.commands.demo",
    "lora_lab.doctor": "lora_lab.commands.doctor",
    "lora_lab.files": "lora_lab.disk",
    "lora_lab.installed": "lora_lab.commands.installed",
    "lora_lab.lora.bases": "lora_lab.adapters.bases",
    "lora_lab.lora.checkpoint": "lora_lab.adapters.checkpoint",
    "lora_lab.lora.inject": "lora_lab.adapters.placing",
    "lora_lab.lora.merging": "lora_lab.adapters.folding",
    "lora_lab.lora.moved": "lora_lab.adapters.moved",
    "lora_lab.lora.patterns": "lora_lab.patterns",
    "lora_lab.lora.targets": "lora_lab.adapters.naming",
    "lora_lab.machine": "lora_lab.commands.machine",
    "lora_lab.memory.estimate": "lora_lab.memory.closed_form",
    "lora_lab.memory.fit": "lora_lab.memory.budget",
    "lora_lab.memory.measure": "lora_lab.memory.measurement",
    "lora_lab.memory.simulate": "lora_lab.memory.simulation",
    "lora_lab.memory_cli": "lora_lab.commands.memory",
    "lora_lab.naming": "lora_lab.wrappers",
    "lora_lab.quant.lloyd": "lora_lab.quant.fitted",
    "lora_lab.quant.shards": "lora_lab.disk.shards",
    "lora_lab.replacing": "lora_lab.disk.exchange",
    "lora_lab.show.shares": "lora_lab.show.scores",
    "lora_lab.show.spectra": "lora_lab.show.directions",
}
"""Old name → new name, of what has moved since 0.1.0. A row stays for one release and goes with the one after it."""


_SOFTWARE, _HARDWARE, _AROUND = (f"lora_lab.commands.{name}" for name in ("software", "hardware", "surroundings"))

NAMES = {
    "lora_lab.cli": {"SEEDS": "lora_lab.commands.arguments.SEEDS"},
    "lora_lab.installed": {name: f"lora_lab.network.{name}" for name in ("PYPI", "package_index")},
    "lora_lab.doctor": {
        "REINSTALL": "lora_lab.commands.finding.REINSTALL",
        **{name: f"{_SOFTWARE}.{name}" for name in ("python", "package", "requirements", "requirement", "extras")},
        **{name: f"{_HARDWARE}.{name}" for name in ("device", "dtype", "threads", "memory", "gpu_memory")},
        "free_memory": f"{_HARDWARE}.free_memory",
        **{name: f"{_AROUND}.{name}" for name in ("tier", "disk", "leftovers", "network", "hub", "embedded_base")},
    },
    "lora_lab.lora.checkpoint": {
        "CONFIG": "lora_lab.adapters.folder.CONFIG",
        "WEIGHTS": "lora_lab.adapters.folder.WEIGHTS",
    },
    "lora_lab.lora.inject": {
        **{name: f"lora_lab.adapters.counting.{name}" for name in ("ParameterCount", "count_parameters")},
        **{name: f"lora_lab.adapters.register.{name}" for name in ("adapters", "disabled", "require_adapters")},
    },
    "lora_lab.lora.config": {
        "FrozenMapping": "lora_lab.adapters.config.FrozenMapping",
        "layer_numbers": "lora_lab.adapters.config.layer_numbers",
        "names": "lora_lab.matching.names",
        "target_names": "lora_lab.matching.target_names",
    },
    "lora_lab.lora.targets": {"by_last_parts": "lora_lab.matching.by_last_parts"},
    "lora_lab.memory_cli": {"parse_bytes": "lora_lab.commands.memory_room.parse_bytes"},
    "lora_lab.quant.linear4bit": {"SLAB": "lora_lab.quant.slabs.SIZE"},
    "lora_lab.quant.stream": {"refuse_tied": "lora_lab.quant.ties.refuse_tied", "tie": "lora_lab.quant.ties.tie"},
    "lora_lab.train.pretrain": {"model_card": "lora_lab.train.folder.model_card"},
    "lora_lab.train.loop": {
        "fit": "lora_lab.train.fitting.fit",
        "learning_rate": "lora_lab.train.schedules.learning_rate",
    },
}
"""Old module → its names that went elsewhere than the rest of it, or under another name. For one release, too."""

_FIGURES = {
    "lora_lab.show.adapters": {"moves_by_rank": "lora_lab.show.rate_curves draws what a scale does over the rates"},
    "lora_lab.show.finetuning": {"loss_curve": "the losses are in lora_lab.train.History, for plt.semilogy"},
    "lora_lab.show.levels": {
        "error_against_bits": "lora_lab.show.cost_of_bits draws a cost over bits",
        "errors_by_matrix": "lora_lab.show.relative_errors draws errors beside those of one format",
        "rounding": "lora_lab.show.quantizer draws a block of weights on the levels of a format",
    },
    "lora_lab.show.spectra": {
        "energy_curves": "lora_lab.show.energy_held draws the energy of the first directions",
        "matrix_grid": "lora_lab.show.cuts draws matrices as grey images",
        "score_curves": "lora_lab.show.parts_by_rank draws scores over the rank",
    },
}
"""Module → figures that no lesson draws any more. `lora_lab.show` had them, too."""

GONE = {
    "lora_lab.lora.bases": {
        "ADAPTABLE": "ask lora_lab.adapters.bases.kind(layer), which is None for a layer that takes no adapter",
        "dense_dtype": "it is lora_lab.adapters.bases.require_kind(layer).dtype(layer)",
    },
    "lora_lab.lora.inits": {"Base": "a layer to adapt is any torch.nn.Module that lora_lab.adapters.bases.kind knows"},
    "lora_lab.lora.inject": {
        "adapt": "lora_lab.adapters.placing.place does its work, and takes the adapter's name and configuration too",
        "require_no_adapters": "a model may have several; lora_lab.adapters.placing.require_free(model, name) asks "
        "whether a name is free",
    },
    "lora_lab.lora.moved": {"forget_tensors": "notes are kept with their adapter, and lora_lab.lora.remove drops them"},
    "lora_lab.lora.peft_format": {
        "from_peft": "lora_lab.adapters.peft_options.read(method, stored, model) reads a folder of any method",
        "refuse_what_we_lack": "lora_lab.adapters.peft_options.refuse_others does it for every method, which says "
        "what it knows",
        "to_peft": "lora_lab.adapters.peft_options.describe(model, layers, configs) describes an adapter of any method",
    },
    "lora_lab.memory.gpus": {
        "CONTEXT_BYTES": "lora_lab.memory.process_bytes(0, gpu) says least and most; a GPU has context_mib of its own"
    },
    "lora_lab.memory.sizes": dict.fromkeys(
        ("FOUR_NORMS", "FUSED", "MOE", "QKV_BIAS", "QK_NORM"),
        "lora_lab.memory.sizes.FAMILIES has a row for each architecture, with what distinguishes it",
    ),
    **_FIGURES,
    "lora_lab.show": {name: instead for figures in _FIGURES.values() for name, instead in figures.items()},
    "lora_lab.show.spectra": _FIGURES["lora_lab.show.spectra"]
    | {"LINES": "lora_lab.show.PALETTE has the colours that tell curves apart"},
    "lora_lab.train.limits": {
        "has_loss": "lora_lab.data.batches.tokens_with_loss(example['labels']) counts the tokens with loss"
    },
    "lora_lab.train.pretrain": {
        "optimizers": "lora_lab.train.pretrain.muon_and_adamw(recipe) makes what lora_lab.train.loop.run takes",
        "rate": "lora_lab.train.pretrain.trapezoid(warmup) makes the schedule that lora_lab.train.loop.run takes",
    },
    "lora_lab.train.settings": {
        "require_counts": "lora_lab.ranges.whole checks one number, and lora_lab.train.fit checks its own",
        "require_rates": "lora_lab.ranges.real checks one number, and lora_lab.train.optimizers.adamw checks its own",
    },
}
"""Old module → its names that nothing has any more, or that take other arguments now, and what to use instead."""


class StandIn(ModuleType):
    """A module under its old name: whatever is asked of it is looked up under the new one, with a warning."""

    def __init__(self, old: str, new: str) -> None:
        super().__init__(old, f"Moved: it is now `{new}`.")
        self.__spec__ = ModuleSpec(old, _Runner())  # type: ignore[arg-type]
        self._new = new

    def __getattr__(self, name: str) -> object:
        if name == "__all__":  # of `import *`
            return [each for each in dir(self) if not each.startswith("_")]
        if name.startswith("__"):  # tools that look through all modules ask for these
            raise _lacks(self.__name__, name)
        if _is_listed(self.__name__, name):
            return _elsewhere(self.__name__, name, stacklevel=4)
        found = getattr(importlib.import_module(self._new), name)
        _warn(self.__name__, self._new, stacklevel=3)
        return found

    def __dir__(self) -> list[str]:
        module = importlib.import_module(self._new)
        return [*getattr(module, "__all__", dir(module)), *NAMES.get(self.__name__, ())]


class _Runner:
    """`python -m` with an old name runs the module under its new one."""

    def get_code(self, old: str) -> CodeType:
        _warn(old, MOVED[old], stacklevel=2)
        code = f"import runpy; runpy.run_module({MOVED[old]!r}, run_name='__main__', alter_sys=True)"
        return compile(code, f"<{old}>", "exec")


class _Finder:
    """Finds the modules that are still there and lost single names, by the other finders, and loads them with
    `_Loader`."""

    @classmethod
    def find_spec(
        cls, module: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if module not in NAMES.keys() | GONE.keys():
            return None
        others = (finder for finder in sys.meta_path if finder is not cls)
        spec = next(filter(None, (finder.find_spec(module, path, target) for finder in others)), None)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(module, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    """Gives a module its old names, which its own hide."""

    def exec_module(self, module: ModuleType) -> None:
        def lookup(name: str) -> object:
            if not _is_listed(module.__name__, name):
                raise _lacks(module.__name__, name)
            return _elsewhere(module.__name__, name, stacklevel=4)

        module.__dict__["__getattr__"] = lookup
        super().exec_module(module)


def put_stand_ins() -> None:
    """Let each old name be found."""
    for old, new in MOVED.items():
        sys.modules.setdefault(old, StandIn(old, new))
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)


def _is_listed(module: str, name: str) -> bool:
    return name in NAMES.get(module, ()) or name in GONE.get(module, ())


def _elsewhere(module: str, name: str, stacklevel: int) -> object:
    """A single name under its new one.

    Raises:
        ImportError: for one that is gone. An AttributeError would say less: `from … import` replaces its sentence.
    """
    if why := GONE.get(module, {}).get(name):
        raise ImportError(f"{module}.{name} is gone: {why}", name=name)
    new = NAMES[module][name]
    place, _, attribute = new.rpartition(".")
    found: object = getattr(importlib.import_module(place), attribute)
    _warn(f"{module}.{name}", new, stacklevel)
    return found


def _lacks(module: str, name: str) -> AttributeError:
    return AttributeError(f"module {module!r} has no attribute {name!r}")


def _warn(old: str, new: str, stacklevel: int) -> None:
    message = f"{old} is now {new}: import it from there, since the old name goes with the next release"
    warnings.warn(message, FutureWarning, stacklevel=stacklevel)
