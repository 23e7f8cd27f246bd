"""What one pass through a model makes when nothing is kept for a backward pass: a prompt, or one more token.

With L layers of k key heads of width d, c bytes a value and t tokens, of b sequences:

    cache          L · 2 · k · d · c · t · b        of a layer with a sliding window, t is the window at most
    prefill        the whole prompt goes through the layers at once; the cache of a layer with a window is then a view
                   of all keys, which frees none of them until the next token comes
    decode step    one token of each sequence; the cache of a layer is copied when its token is appended

Nothing is kept for a backward pass, so that one layer's tensors are all there is beside the cache: for the product of
the MLP its input, residual, gate, up and their product. Only the last token has logits, in the dtype of the weights and
once more in fp32.

Sources: transformers 5.23.0, cache_utils.py:138, :244 (what a layer of the cache holds), generation/utils.py:2953 (the
logits of the last token), masking_utils.py (a mask is made where the keys fill the window, and with a mask keys are
repeated for each query head: integrations/sdpa_attention.py); bitsandbytes 0.50.2, autograd/_functions.py (one token is
multiplied without unpacking 4-bit weights), nn/modules.py:737 (int8: one scale a row).
"""

from dataclasses import dataclass
from typing import Literal, get_args

from lora_lab.memory.settings import Attention, Device
from lora_lab.memory.shapes import layer_linears
from lora_lab.memory.sizes import Sizes

StoredAs = Literal["fp32", "bf16", "fp16", "int8", "nf4"]
STORED_AS: tuple[StoredAs, ...] = get_args(StoredAs)


@dataclass(frozen=True)
class Step:
    """One pass: `new` tokens of each sequence look at `seen`; `width` bytes a value."""

    sequences: int
    new: int
    seen: int
    width: int
    cache_width: int
    weights: StoredAs
    attention: Attention
    device: Device

    def appended(self, s: Sizes) -> int:
        """Tokens that are copied when a layer's next one comes, none for a prompt: a full layer's keys and then its
        values, but both at once where a window cuts them."""
        if self.new > 1:
            return 0
        return max(self.seen * (s.windowed < 1), 2 * min(self.seen, s.window))

    def keys(self, s: Sizes) -> int:
        """Tokens that a layer attends to, at most; a whole prompt comes with all of its keys."""
        return self.seen if self.new > 1 or s.windowed < 1 else min(self.seen, s.window)

    def masks(self, s: Sizes) -> int:
        """Eager attention has one for each kind of layer, SDPA one of single bytes where a window cuts a prompt."""
        if self.attention == "eager":
            return s.kinds * self.sequences * self.new * self.seen * self.width
        return self.new * self.seen if self.cut(s) else 0

    def cut(self, s: Sizes) -> bool:
        """Whether some layers' window is shorter than the prompt."""
        return s.windowed > 0 and self.new > 1 and self.seen >= s.window

    def attended(self, s: Sizes) -> int:
        """What attention makes beside query, key and value: keys and values for each query head, its output, and if
        eager the scores: as they come, in fp32 (twice on a CPU), and the softmax in the dtype of the product."""
        keys = self.keys(s)
        repeated = 2 * self.sequences * keys * s.q_width * self.width if s.kv_heads < s.heads else 0
        if self.attention == "sdpa":
            return self.sequences * self.new * s.q_width * self.width + repeated * self.cut(s)
        wide = 8 if self.device == "cpu" and self.width < 4 else 4
        score = 2 * self.width if s.family.conv1d else max(self.width + wide, 2 * self.width + 4)
        return repeated + self.sequences * s.heads * self.new * keys * score

    def unpacked(self, s: Sizes, group: str) -> int:
        """For a quantized product: the largest weight in 16 bits, unless there is but one token; the sums of int8
        values, which are int32, beside the int8 input."""
        shapes, tokens = [shape for shape in layer_linears(s) if shape.group == group], self.sequences * self.new
        if self.weights == "nf4" and tokens > 1:
            return self.width * max((shape.numel for shape in shapes), default=0)
        if self.weights == "int8":
            return tokens * max((shape.d_in + 4 * shape.d_out for shape in shapes), default=0)
        return 0


def stored_cache(s: Sizes, tokens: int, width: int, whole: bool) -> int:
    """Of all sequences, `width` bytes a value; `whole` where windows do not cut yet."""
    sliding = round(s.windowed * s.layers)
    seen = tokens if whole else min(tokens, s.window)
    return 2 * s.kv_width * width * ((s.layers - sliding) * tokens + sliding * seen)


def pass_moments(s: Sizes, step: Step, cache: int) -> list[dict[str, int]]:
    """What is alive at the critical moments of one pass, beside the weights: when a layer's cache is appended to, in
    its attention, in its MLP, and at the logits. All along live embeddings, hidden states, positions and masks."""
    c, h, n, q = step.width, s.hidden, step.sequences * step.new, s.q_width
    positions = step.new * c * (h if s.family.learned_positions else _rotations(s) * 2 * s.head_dim)
    carried = 2 * n * c * h + positions + step.masks(s)
    fused = (q + 2 * s.kv_width) * s.family.fused
    turned = q if s.family.learned_positions else 4 * q  # rotary positions: three more
    attention = n * c * h + max(n * c * (turned + 2 * s.kv_width), n * c * (q + fused) + step.attended(s))
    norm = n * (8 + c) * h  # two copies in fp32
    weights = n * s.heads * step.seen * c if step.attention == "eager" else 0  # of attention, which its caller holds
    mlp = weights + n * c * (2 * h + _mlp_width(s))
    largest = step.sequences * step.cache_width * s.kv_width * step.appended(s)
    logits = step.sequences * s.vocab * (c + 4 + c * s.logit_cap)
    return [
        {"KV cache": cache, "activations": carried + n * c * (h + q + s.kv_width), "workspace": largest},
        {"KV cache": cache, "activations": carried + max(attention, norm), "workspace": step.unpacked(s, "attention")},
        {"KV cache": cache, "activations": carried + mlp, "workspace": step.unpacked(s, "mlp")},
        {"KV cache": cache, "activations": carried + n * c * h, "logits and loss": logits},
    ]


def _mlp_width(s: Sizes) -> int:
    """Values per token: gate, up and product; where gate and up are one product, that and its two halves' product; GELU
    by way of tanh one step at a time; of a mixture, for each expert that a token goes to, that and its input."""
    dense = s.intermediate * (3 if s.family.gated and not s.family.fused else 4) + s.hidden * (not s.family.gated)
    return max(dense, s.top_k * (4 * s.expert_width + s.hidden)) if s.experts else dense


def buffers(s: Sizes, c: int) -> int:
    """Inverse frequencies of the rotary embedding, twice in fp32 for each kind of layer that has its own."""
    return 2 * 4 * (s.head_dim // 2) * _rotations(s) + s.family.wide_norm * c


def _rotations(s: Sizes) -> int:
    if s.family.learned_positions:
        return 0
    return s.kinds if s.family.rotary_kinds else 1
