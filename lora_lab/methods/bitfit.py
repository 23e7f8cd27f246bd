"""BitFit: nothing but biases trains.

    h = W x + b     every W frozen, every b trained, those of LayerNorm too

The paper's smaller variant trains the biases of the queries and of the middle of the MLP, b_q and b_m2, which are in a
BERT BitFitConfig(biases=("query", "intermediate.dense")). The authors' code trains the pooler's bias with either.

Source: Ben Zaken et al., "BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked Language-models",
arXiv 2106.10199, and their code (benzakenelad/BitFit, GLUEvaluator.py).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from lora_lab.adapters import peft_options
from lora_lab.adapters.config import AdapterConfig
from lora_lab.matching import meanings, names
from lora_lab.ranges import first

ALL = "all"


@dataclass(frozen=True)
class BitFitConfig(AdapterConfig):
    """Which biases to train. They are copies in the places of the model's, in its dtype: in bfloat16, whose numbers
    near b are at least b/256 apart, small steps are rounded away, so train in float32, within autocast.

    There is no layer to merge: `merge` does nothing, and `merge_and_remove` leaves the trained biases in the model.
    PEFT has no BitFit, so a folder that says peft_type "BITFIT" is read here only.

    Attributes:
        biases: "all", or names of the modules whose biases train, in the terms of `lora_lab.adapters.naming.targets`.
        modules_to_save: as every `AdapterConfig` has it; the paper, too, trains a classifier's head.

    Injecting raises:
        ValueError: for a model without biases, or a name that matches no module with one.
    """

    peft_type: ClassVar[str] = "BITFIT"

    biases: str | Sequence[str] = ALL
    modules_to_save: str | Sequence[str] | None = None

    def __post_init__(self) -> None:
        save, biases = self.modules_to_save, names("biases", self.biases)
        if not biases:
            raise ValueError("biases=() names nothing: give 'all', or names of modules with a bias")
        self.settle(
            biases=ALL if self.biases == ALL else biases,
            modules_to_save=None if save is None else names("modules_to_save", save),
        )

    def trained_in_place(self, tensors: Collection[str], adapted: Collection[str]) -> set[str]:
        """The biases that `biases` names."""
        owners = {tensor: tensor.rpartition(".")[0] for tensor in tensors if "bias" in tensor.rpartition(".")[2]}
        if not owners:
            raise ValueError(
                "BitFit trains biases, and this model has none, like every Llama: choose another method, such as LoRA"
            )
        if self.biases == ALL:
            return set(owners)
        modules = list(dict.fromkeys(owners.values()))
        named = meanings(self.biases, modules)
        if nothing := [each for each, matched in named.items() if not matched]:
            raise ValueError(
                f"biases names {nothing[0]!r}, which matches no module with a bias: {first(modules)} have one"
            )
        return {tensor for tensor, owner in owners.items() if owner in set().union(*named.values())}

    @classmethod
    def check_stored(cls, stored: Mapping[str, Any]) -> None:
        """A folder of ours has no other option."""
        peft_options.refuse_others(stored, ("biases",), {}, needed=("biases",))

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Self:
        """As `describe` writes it."""
        return cls(stored["biases"], stored.get("modules_to_save") or ())

    def describe(self, layers: Mapping[str, Any]) -> dict[str, Any]:
        """The biases as they were named."""
        return {"biases": self.biases if self.biases == ALL else list(self.biases)}
