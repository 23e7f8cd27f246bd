"""LoRA on an embedding: row i of the table moves by (α/r) · B a_i.

    h = W[i] + (α/r) · B A[:, i]        A [r, number of ids] and B [d, r] trained, W frozen

A starts at zero and B at random, the other way round than in a linear layer, as in PEFT: so the output does not move at
first, and an id that never occurs keeps its row.

Source: Hu et al., "LoRA", arXiv 2106.09685, for a product with a one-hot x.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lora_lab.adapters import bases
from lora_lab.adapters.adapter import Adapter
from lora_lab.lora.config import EMBEDDING_KEYS, LoRAConfig
from lora_lab.lora.layers import full_product, require_holds


class LoRAEmbedding(Adapter, method=LoRAConfig):
    """A frozen `nn.Embedding` plus a trainable update of rank r.

    Args:
        base: the embedding.
        config: rank, scaling and start. Its dropout is not used, as in PEFT: ids cannot be thinned out.

    Attributes:
        lora_A: Parameter [r, number of ids], zeros at first.
        lora_B: Parameter [d, r], normal at first.

    Raises:
        TypeError: for any other kind of base.
        ValueError: for a start other than "kaiming" and "gaussian", which are the same here; for max_norm, by which an
            embedding writes to its own weight; for sparse gradients; for a scaling that the factors cannot hold.
    """

    config: LoRAConfig
    stored_as: ClassVar[Mapping[str, str]] = dict(zip(("lora_A", "lora_B"), EMBEDDING_KEYS))

    def __init__(self, base: nn.Embedding, config: LoRAConfig) -> None:
        if not self.takes(base):
            raise TypeError(f"cannot adapt {bases.described(base)}: only torch.nn.Embedding takes a LoRAEmbedding")
        if config.init not in ("kaiming", "gaussian"):
            raise ValueError(f"init={config.init!r} starts from a matrix product's weight, and this is an embedding")
        if base.max_norm is not None:
            raise ValueError(
                f"the embedding has max_norm={base.max_norm:g}, so it writes to its own weight: leave it out"
            )
        if base.sparse:
            raise ValueError("it has sparse=True, and torch has no sparse gradient of a product: make it dense")
        super().__init__(base)
        self.config = config
        self.scaling = config.scaling
        require_holds(self.own_dtype, self.scaling)
        r, (ids, d) = config.r, (base.num_embeddings, base.embedding_dim)
        self.lora_A = nn.Parameter(torch.zeros(r, ids, dtype=self.own_dtype, device=self.device))
        self.lora_B = nn.Parameter(torch.empty(d, r, dtype=self.own_dtype, device=self.device))
        nn.init.normal_(self.lora_B)

    @classmethod
    def takes(cls, base: nn.Module) -> bool:
        """Whether the layer is an embedding itself."""
        return type(base) is nn.Embedding

    @property
    def num_embeddings(self) -> int:
        """The number of ids."""
        return self.kind.sizes(self.core)[0]

    @property
    def embedding_dim(self) -> int:
        """d."""
        return self.kind.sizes(self.core)[1]

    @property
    def padding_idx(self) -> int | None:
        """The id whose row gets no gradient."""
        padding: int | None = self.core.padding_idx  # type: ignore[assignment]
        return padding

    def as_plain(self) -> tuple[int, float]:
        """r and alpha, for a folder."""
        return self.config.r, self.config.alpha

    def adapted(self, x: Tensor) -> Tensor:
        """x [...], ids -> h [..., d]."""
        h = self.base(x)
        a = self.kind.apply(self.core, x, self.lora_A.T, None)
        return (h + self.scaling * F.linear(a, self.lora_B)).to(h.dtype)

    def delta_weight(self) -> Tensor:
        """ΔW = scaling · (B A)ᵀ, [number of ids, d], in the dtype of the factors."""
        return full_product(self.scaling, self.lora_B, self.lora_A).T.to(self.lora_B.dtype)

    def folded(self) -> tuple[Tensor, Tensor | None]:
        """W + ΔW in float32 at least; an embedding has no bias."""
        weight, delta = self.kind.weight(self.core), full_product(self.scaling, self.lora_B, self.lora_A).T
        return weight.to(torch.promote_types(weight.dtype, delta.dtype)) + delta, None

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return f"r={self.config.r}, alpha={self.config.alpha}, scaling={self.scaling:g}"

    def meaning(self) -> str:
        """Kind, rank and scaling."""
        return f"LoRA of an embedding, of rank {len(self.lora_A)} with scaling {self.scaling:.9g}"
