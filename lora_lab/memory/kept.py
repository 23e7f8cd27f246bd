"""What autograd keeps of one decoder layer between its forward and its backward pass, in bytes per token.

Every term is a tensor that autograd saves in the transformers implementation. Per token, for Llama in bf16 with all
weights training, h hidden, i intermediate, a heads, q and k the widths of all query and of all key heads:

    2 norms          2 · (4h input in fp32 + 2h normalised + 2h output + 4)
    attention        2q query + 2k key + 2k value + 2q output + 4a log-sum-exp
    MLP              2i gate + 2i its activation + 2i up + 2i product

which is 24h + 8i + 4a + 8 without grouped queries. A frozen norm keeps no normalised values, a frozen linear layer no
input; but an adapter keeps the input that it reads, and r values. Under autocast, fp32 weights are copied to bf16 for
the product, and so is the input, once for each layer that reads it.
"""

from collections.abc import Mapping

from lora_lab.memory.settings import Setup
from lora_lab.memory.widths import Widths


class Kept:
    """The terms of one layer.

    Args:
        setup: what is trained, and how.
        share: of the layers meant, how many have an adapter on the linear layer of each name: 1 in a single one.
    """

    def __init__(self, setup: Setup, share: Mapping[str, float]) -> None:
        self.setup, self.share, self.s = setup, share, setup.sizes
        self.full, self.family, self.width = not setup.adapted, setup.sizes.family, Widths(setup)
        self.sparse = len(self.s.moe_layers) / self.s.layers  # share of layers whose MLP is a mixture

    def total(self) -> float:
        """All of them."""
        return self.norms() + self.attention() + self.mlp() + self.int8_inputs()

    def norm(self) -> float:
        """One norm without its output: its input in fp32, 1/rms and, for the weight's gradient, the normalised."""
        w = self.width.weights
        if self.family.layer_norm:  # LayerNorm takes its input as it is
            return w * self.s.hidden
        return 4 * self.s.hidden + 4 + self.full * (4 if self.family.wide_norm else w) * self.s.hidden

    def norms(self) -> float:
        """All norms of the layer, with their outputs as far as linear layers keep them."""
        w, h = self.width.weights, self.s.hidden
        if self.family.conv1d:
            dropout = 2 * w * h * self.s.hidden_dropout  # it keeps its masks
            return 2 * self.norm() + self.read("qkv_proj") + self.read("up_proj") + dropout
        attention = self.read("qkv_proj") if self.family.fused else self.read("q_proj", "k_proj", "v_proj")
        mlp = self.read("gate_up_proj") if self.family.fused else self.read("gate_proj", "up_proj")
        router = self.full * w * h
        return self.family.norms * self.norm() + attention + (1 - self.sparse) * mlp + self.sparse * router

    def attention(self) -> float:
        """From query, key and value to the input of the output projection."""
        kept = self.low_rank("q_proj", "k_proj", "v_proj", "qkv_proj", "o_proj") + self.query_norm()
        if self.setup.attention == "eager":
            return kept + self.repeated() + self.scores() + self.output()
        if self.drops_scores:  # torch's SDPA for CPUs knows no dropout: plain products in fp32
            return kept + 3 * 4 * self.s.q_width + self.scores() + self.output()
        return kept + self.sdpa()

    def repeated(self) -> float:
        """Query, key and value for eager attention, which repeats those of each key head for its query heads; a single
        one by a view."""
        single = self.s.kv_heads == self.setup.batch_size == 1
        return self.width.products * (self.s.q_width + 2 * (self.s.kv_width if single else self.s.q_width))

    def sdpa(self) -> float:
        """Query, key, value, output, and a log-sum-exp per head."""
        c, q, kv = self.width.products, self.s.q_width, self.s.kv_width
        if self.family.conv1d:  # query, key and value are views of one product
            return c * (3 * q + q) + 4 * self.s.heads
        key: float = kv
        value: float = q + 2 * kv if self.family.fused else kv  # a view there, which keeps the whole of its product
        copy = self.output() if self.family.fused or self.width.copies_attention or self.setup.dropout else 0
        masked = self.masked()
        if masked and self.s.kv_heads > 1:  # then keys and values are repeated for each query head
            key, value = (1 - masked) * key + masked * q, (1 - masked) * value + masked * q
        mask = masked * c * self.setup.seq_len
        return c * (q + key + value + q) + 4 * self.s.heads + mask + copy

    def output(self) -> float:
        """The input of the output projection, where that is kept apart."""
        return self.s.q_width * self.input_of("o_proj")

    def mlp(self) -> float:
        """From the gate to the input of the last projection; of a mixture, for the experts that a token goes to."""
        c, i = self.width.products, self.s.intermediate
        if not self.family.gated:  # GELU by way of tanh, one operation at a time
            return 4 * c * i + self.product() + self.low_rank("up_proj", "down_proj")
        dense = 3 * self.width.outputs * i + self.product()
        dense += self.low_rank("gate_proj", "up_proj", "gate_up_proj", "down_proj")
        wide, narrow = (4, 2) if self.full else (3, 1)  # frozen experts keep neither their inputs nor the products
        experts = c * self.s.top_k * (wide * self.s.expert_width + narrow * self.s.hidden)
        routing = 4 * self.s.experts + 40 * self.s.top_k + 4  # probabilities, and int64 places to sort by
        return (1 - self.sparse) * dense + self.sparse * (experts + routing)

    def int8_inputs(self) -> float:
        """What LLM.int8's layers keep: their inputs, one for those that share it (bitsandbytes 0.50.2,
        autograd/_functions.py, `ctx.tensors`). They are kept as attributes, which checkpointing does not see."""
        if self.setup.base != "int8":
            return 0
        mlp = (1 - self.sparse) * (self.s.hidden + self.s.intermediate)
        return self.width.weights * (self.s.hidden + self.s.q_width + mlp)

    def product(self) -> float:
        """The input of the MLP's last projection."""
        return self.s.intermediate * self.input_of("down_proj")

    def unneeded(self) -> float:
        """Before the first adapter of the first layer nothing is kept, since the embeddings need no gradient."""
        if self.full:
            return 0
        if first := sum(self.share.get(name, 0) for name in ("q_proj", "k_proj", "v_proj", "qkv_proj")):
            return self.norm() + first * self.mask_of(self.width.weights) * self.s.hidden
        before = self.norm() + self.attention() - self.output() - self.low_rank("o_proj")
        if self.sparse or any(self.share.get(name) for name in ("o_proj", "gate_proj", "up_proj", "gate_up_proj")):
            return before
        return before + self.norm() + self.mlp() - self.product() - self.low_rank("down_proj")

    def query_norm(self) -> float:
        """As `norm`, for the heads of queries and keys."""
        if not self.family.query_norm:
            return 0
        width = 4 + self.full * (4 if self.family.wide_norm else self.width.products)
        return width * (self.s.q_width + self.s.kv_width) + 4 * (self.s.heads + self.s.kv_heads)

    def scores(self) -> float:
        """seq_len values per head: the softmax in fp32 and its copy for the product, a soft cap's, a dropout's."""
        width, c = self.s.heads * self.setup.seq_len, self.width.products
        if self.family.conv1d:  # no cast but autocast's; dropout keeps its mask and its output
            wide = 4 if self.setup.attention == "sdpa" else c
            softmax = 4 if self.setup.autocast else wide
            after = 2 * wide if self.s.attention_dropout else wide * self.setup.autocast
            return width * (softmax + after)
        return width * (4 + c * ((c < 4) + self.s.score_cap))

    def read(self, *names: str) -> float:
        """What linear layers keep of the input that they share."""
        h = self.s.hidden
        shares = [1.0] * len(names) if self.full else [self.share.get(name, 0) for name in names]
        if self.setup.dropout:  # each adapter thins out a copy of its own
            copy = self.width.adapter_inputs if self.width.one_copy_each else self.width.weights
            return sum(shares) * (copy + self.mask_of(self.width.weights)) * h
        if self.width.one_copy_each:
            return sum(shares) * self.width.adapter_inputs * h
        return max(shares) * self.width.weights * h

    def input_of(self, name: str) -> float:
        """Per value, what a linear layer keeps of an input that is its own: nothing if it is frozen."""
        if self.full:
            return self.width.products
        return (self.width.adapter_inputs + self.mask_of(self.width.products)) * self.share.get(name, 0)

    def mask_of(self, width: int) -> int:
        """Of one value of an adapter's input, what its dropout keeps: a byte of mask on CUDA; on a CPU zeros and
        multiples in the dtype of that input, or in the adapter's where it reads a copy."""
        if not self.setup.dropout or self.setup.device == "cuda":
            return int(self.setup.dropout > 0)
        return self.setup.trainable_dtype.itemsize if self.setup.software.copies_inputs else width

    def low_rank(self, *names: str) -> float:
        """A x, which an adapter keeps for the gradient of B."""
        return self.width.adapter_inputs * self.setup.r * sum(self.share.get(name, 0) for name in names)

    @property
    def drops_scores(self) -> bool:
        """Whether dropout acts on attention's weights under SDPA."""
        return self.s.attention_dropout and self.setup.attention == "sdpa"

    def masks(self) -> int:
        """Of eager attention: one row of the causal mask, for each kind of layer."""
        return self.s.kinds * self.width.weights * self.setup.seq_len if self.setup.attention == "eager" else 0

    def masked(self) -> float:
        """The share of layers whose window is shorter than the sequence, so that they need a mask; with checkpointing
        the fullest layer is meant, which has one."""
        if self.setup.seq_len < self.s.window:
            return 0
        return float(self.s.windowed > 0) if self.setup.checkpointing else self.s.windowed
