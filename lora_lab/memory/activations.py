"""What one decoder layer keeps from the forward to the backward pass, and what it holds while it goes backward.

Every term is a tensor that autograd saves in the transformers implementation. Per token, for Llama in bf16 with all
weights training, h hidden, i intermediate, a heads, q and k the widths of all query and of all key heads:

    2 norms          2 · (4h input in fp32 + 2h normalised + 2h output + 4)
    attention        2q query + 2k key + 2k value + 2q output + 4a log-sum-exp
    MLP              2i gate + 2i its activation + 2i up + 2i product

which is 24h + 8i + 4a + 8 without grouped queries. A frozen norm keeps no normalised values, a frozen linear layer no
input; but an adapter keeps the input that it reads, and r values. Under autocast, fp32 weights are copied to bf16 for
the product, and so is the input, once for each layer that reads it.
"""

from dataclasses import dataclass

from lora_lab.memory.reach import adapted, lora_parameters
from lora_lab.memory.settings import Setup
from lora_lab.memory.shapes import layer_linears
from lora_lab.memory.sizes import sizes


def depth(setup: Setup) -> int:
    """How many layers go backward: with adapters those from the first adapted one on, since below nothing trains."""
    layers = sizes(setup.config).layers
    if not setup.adapted:
        return layers
    paths = [path for shape in adapted(setup.config, setup.target_modules) for path in shape.paths]
    return layers - min((int(path.split(".")[2]) for path in paths if "." in path), default=layers)


@dataclass(frozen=True)
class Layer:
    """Bytes of one decoder layer that goes backward, for a whole batch; where adapters differ, of the average layer.

    Attributes:
        kept: between its forward and its backward pass.
        peak: most that is alive in its backward pass, what it keeps included, gradients of weights excluded.
        casts: the part of `kept` that are copies of weights in the dtype of the product; it ignores the batch.
        stream: the hidden states that go in, which are all that checkpointing keeps.
        forward: most that its forward pass makes when nothing is kept.
        unneeded: what the first of them does not keep, if its input needs no gradient.
        masks: of eager attention, which all layers share.
    """

    kept: int
    peak: int
    casts: int
    stream: int
    forward: int
    unneeded: int
    masks: int


def layer(setup: Setup) -> Layer:
    """Of the closed forms for one token, what one layer comes to; nothing, if only the head is adapted."""
    per_token, tokens = _PerToken(setup), setup.batch_size * setup.seq_len
    forward = round(tokens * per_token.in_forward()) + per_token.dequantized()
    if not per_token.depth:
        return Layer(kept=0, peak=0, casts=0, stream=0, forward=forward, unneeded=0, masks=0)
    norms, attention, mlp, casts = per_token.norms(), per_token.attention(), per_token.mlp(), per_token.casts()
    moments = (  # last to first, as the backward pass comes to them
        norms + attention + mlp + per_token.in_mlp(),
        norms + attention + per_token.in_attention(),
        norms / 2 + per_token.in_query_norm(),
    )
    return Layer(
        kept=round(tokens * (norms + attention + mlp)) + casts,
        peak=round(tokens * max(moments)) + casts + per_token.dequantized(),
        casts=casts,
        stream=tokens * per_token.w * per_token.s.hidden,
        forward=forward,
        unneeded=round(tokens * per_token.unneeded()),
        masks=tokens * per_token.masks(),
    )


def final_norm(setup: Setup) -> tuple[int, int]:
    """Bytes of the norm behind the last layer: what it keeps with its output, and what its backward pass adds."""
    per_token, tokens = _PerToken(setup), setup.batch_size * setup.seq_len
    h, goes_backward = per_token.s.hidden, per_token.depth > 0
    kept = goes_backward * per_token.norm() + per_token.w * h
    return round(tokens * kept), goes_backward * tokens * _NORM_BACKWARD * h


_NORM_BACKWARD = 5 * 4  # bytes per value: an RMSNorm goes backward through five fp32 tensors as wide as its input


class _PerToken:
    """Bytes per token. `w` and `c` are bytes per value of weights and hidden states, and of products."""

    def __init__(self, setup: Setup) -> None:
        self.setup, self.s = setup, sizes(setup.config)
        self.full = not setup.adapted
        self.gpt2, self.phi3 = (self.s.model_type == name for name in ("gpt2", "phi3"))
        self.w, self.c = setup.weight_dtype.itemsize, setup.compute_dtype.itemsize
        self.depth = depth(setup)
        self.share = {} if self.full else _shares(setup, max(self.depth, 1))
        self.sparse = len(self.s.moe_layers) / self.s.layers  # share of layers whose MLP is a mixture
        dense = self.s.intermediate if self.sparse < 1 else 0
        self.mlp_width = max(dense, self.s.top_k * self.s.expert_width)

    def norm(self) -> float:
        """One norm without its output: its input in fp32, 1/rms and, for the weight's gradient, the normalised."""
        if self.gpt2:  # LayerNorm takes its input as it is
            return self.w * self.s.hidden
        gemma = self.s.model_type.startswith("gemma")  # goes back to 16 bits only after the weight
        return 4 * self.s.hidden + 4 + self.full * (4 if gemma else self.w) * self.s.hidden

    def norms(self) -> float:
        """All norms of the layer, with their outputs as far as linear layers keep them."""
        if self.gpt2:  # dropout keeps its masks
            dropout = 2 * self.w * self.s.hidden if self.setup.config.resid_pdrop else 0
            return 2 * self.norm() + self.read("qkv_proj") + self.read("up_proj") + dropout
        attention = self.read("qkv_proj") if self.phi3 else self.read("q_proj", "k_proj", "v_proj")
        mlp = self.read("gate_up_proj") if self.phi3 else self.read("gate_proj", "up_proj")
        router = self.full * self.w * self.s.hidden
        return self.s.norms * self.norm() + attention + (1 - self.sparse) * mlp + self.sparse * router

    def attention(self) -> float:
        """From query, key and value to the input of the output projection."""
        c, q = self.c, self.s.q_width
        kept = self.low_rank("q_proj", "k_proj", "v_proj", "qkv_proj", "o_proj") + self.query_norm()
        if (
            self.setup.attention == "eager"
        ):  # keys and values are repeated for each query head, by a view of a single one
            single = self.s.kv_heads == self.setup.batch_size == 1
            return kept + c * (q + 2 * (self.s.kv_width if single else q)) + self.scores() + self.output()
        if self.drops_scores:  # torch's SDPA for CPUs knows no dropout: plain products in fp32
            return kept + 3 * 4 * q + self.scores() + self.output()
        return kept + self.sdpa()

    def sdpa(self) -> float:
        """Query, key, value, output, and a log-sum-exp per head."""
        c, q, kv = self.c, self.s.q_width, self.s.kv_width
        if self.gpt2:  # query, key and value are views of one product
            return c * (3 * q + q) + 4 * self.s.heads
        key: float = kv
        value: float = q + 2 * kv if self.phi3 else kv  # Phi-3's value is a view, and keeps the whole of its product
        copy = self.output() if self.phi3 else 0
        masked = self.masked()
        if masked and self.s.kv_heads > 1:  # then keys and values are repeated for each query head
            key, value = (1 - masked) * key + masked * q, (1 - masked) * value + masked * q
        mask = masked * c * self.setup.seq_len
        return c * (q + key + value + q) + 4 * self.s.heads + mask + copy

    def output(self) -> float:
        """The input of the output projection, where that is kept apart."""
        return self.c * self.s.q_width * (1 if self.full else self.share.get("o_proj", 0))

    def mlp(self) -> float:
        """From the gate to the input of the last projection; of a mixture, for the experts that a token goes to."""
        c, i = self.c, self.s.intermediate
        if self.gpt2:  # GELU by way of tanh, one operation at a time
            return 4 * c * i + self.product() + self.low_rank("up_proj", "down_proj")
        dense = 3 * c * i + self.product() + self.low_rank("gate_proj", "up_proj", "gate_up_proj", "down_proj")
        wide, narrow = (4, 2) if self.full else (3, 1)  # frozen experts keep neither their inputs nor the products
        experts = c * self.s.top_k * (wide * self.s.expert_width + narrow * self.s.hidden)
        routing = 4 * self.s.experts + 40 * self.s.top_k + 4  # probabilities, and int64 places to sort by
        return (1 - self.sparse) * dense + self.sparse * (experts + routing)

    def product(self) -> float:
        """The input of the MLP's last projection, which is kept where that is trained or adapted."""
        return self.c * self.s.intermediate * (1 if self.full else self.share.get("down_proj", 0))

    def casts(self) -> int:
        """Bytes, not per token: one layer's weights, or its adapters, in the dtype of the product."""
        if self.full:
            linear = sum(shape.count * (shape.numel + shape.bias * shape.d_out) for shape in layer_linears(self.s))
            return self.c * linear // self.s.layers if self.setup.autocast else 0
        if self.setup.trainable_dtype == self.setup.compute_dtype:
            return 0
        return (
            self.c * lora_parameters(self.setup.config, self.setup.r, self.setup.target_modules) // max(self.depth, 1)
        )

    def dequantized(self) -> int:
        """Bytes, not per token: the largest weight that is unpacked for its product."""
        if self.setup.method != "qlora":
            return 0
        return self.c * max(shape.numel for shape in layer_linears(self.s))

    def unneeded(self) -> float:
        """Before the first adapter of the first layer nothing is kept, since the embeddings need no gradient."""
        if self.full:
            return 0
        if any(self.share.get(name) for name in ("q_proj", "k_proj", "v_proj", "qkv_proj")):
            return self.norm()
        before = self.norm() + self.attention() - self.output() - self.low_rank("o_proj")
        if self.sparse or any(self.share.get(name) for name in ("o_proj", "gate_proj", "up_proj", "gate_up_proj")):
            return before
        return before + self.norm() + self.mlp() - self.product() - self.low_rank("down_proj")

    def in_forward(self) -> float:
        """Beyond what is kept, when the layer goes forward: where nothing is, all that the MLP makes."""
        if self.depth and not self.setup.checkpointing:
            return 0 if self.full else self.in_product()
        return 2 * self.c * self.mlp_width + self.in_mlp()

    def in_mlp(self) -> float:
        """Beyond what is kept, when the MLP goes backward, or forward again with its adapters."""
        return self.in_product() + (1 if self.full else 3) * self.w * self.s.hidden

    def in_product(self) -> float:
        """Two gradients as wide as the MLP; or an adapter's output and its multiple, in Phi-3 twice as wide."""
        return (4 if self.phi3 and not self.full else 2) * self.c * self.mlp_width

    def in_attention(self) -> float:
        """The same for the attention, when the MLP is done: two fp32 gradients of the scores for their 16-bit copy; one
        where SDPA drops some of them."""
        plain = self.setup.attention == "eager" and not (self.gpt2 and self.setup.config.attn_pdrop)
        width = plain * (8 - (self.c if self.c < 4 else 0)) + 4 * self.drops_scores
        return width * self.s.heads * self.setup.seq_len + 2 * self.w * self.s.hidden

    def in_query_norm(self) -> float:
        """Where queries are normalised, what that holds when all else of the attention is done."""
        if not self.s.qk_norm:
            return 0
        return self.query_norm() + _NORM_BACKWARD * self.s.q_width + 2 * self.c * self.s.kv_width

    def query_norm(self) -> float:
        """As `norm`, for the heads of queries and keys."""
        if not self.s.qk_norm:
            return 0
        width = 4 + self.full * (4 if self.s.model_type.startswith("gemma") else self.c)
        return width * (self.s.q_width + self.s.kv_width) + 4 * (self.s.heads + self.s.kv_heads)

    def scores(self) -> float:
        """seq_len values per head: the softmax in fp32 and its copy for the product, a soft cap's, a dropout's."""
        width = self.s.heads * self.setup.seq_len
        if self.gpt2:  # no cast but autocast's; dropout keeps its mask and its output
            wide = 4 if self.setup.attention == "sdpa" else self.c
            softmax = 4 if self.setup.autocast else wide
            after = 2 * wide if self.setup.config.attn_pdrop else wide * self.setup.autocast
            return width * (softmax + after)
        copies = (self.c < 4) + (getattr(self.setup.config, "attn_logit_softcapping", None) is not None)
        return width * (4 + self.c * copies)

    def read(self, *names: str) -> float:
        """What linear layers keep of the input that they share."""
        h = self.s.hidden
        shares = [1.0] * len(names) if self.full else [self.share.get(name, 0) for name in names]
        return sum(shares) * self.c * h if self.setup.autocast else max(shares) * self.w * h

    def low_rank(self, *names: str) -> float:
        """A x, which an adapter keeps for the gradient of B."""
        return self.c * self.setup.r * sum(self.share.get(name, 0) for name in names)

    @property
    def drops_scores(self) -> bool:
        """Whether dropout acts on attention's weights under SDPA."""
        return self.gpt2 and self.setup.attention == "sdpa" and self.setup.config.attn_pdrop > 0

    def masks(self) -> int:
        """Of eager attention: one row of the causal mask, for each kind of layer."""
        kinds = set(getattr(self.setup.config, "layer_types", None) or [""])
        return len(kinds) * self.w * self.setup.seq_len if self.setup.attention == "eager" else 0

    def masked(self) -> float:
        """The share of layers whose window is shorter than the sequence, so that they need a mask."""
        window = getattr(self.setup.config, "sliding_window", None)
        if not window or self.setup.seq_len < window:  # 0 says none too
            return 0
        kinds = getattr(self.setup.config, "layer_types", None) or ["sliding_attention"]
        return kinds.count("sliding_attention") / len(kinds)


# What GPT-2's linear layers are called here, by their place and name: two of them are called c_proj.
_GPT2 = {
    ("attention", "c_attn"): "qkv_proj",
    ("attention", "c_proj"): "o_proj",
    ("mlp", "c_fc"): "up_proj",
    ("mlp", "c_proj"): "down_proj",
}


def _shares(setup: Setup, depth: int) -> dict[str, float]:
    """Of the layers that go backward, how many have an adapter of that name."""
    return {
        _GPT2.get((shape.group, shape.name), shape.name): shape.count / depth
        for shape in adapted(setup.config, setup.target_modules)
    }
