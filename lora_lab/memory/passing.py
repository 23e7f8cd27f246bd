"""What one decoder layer holds for a moment while it goes forward or backward, in bytes per token.

Where a layer keeps nothing (it is frozen, or to be repeated), its forward pass peaks either at the softmax of eager
attention or at the last product of its MLP:

    attention   norm's output, query, keys, values, scores in 16 bits, the same in fp32, their softmax in fp32
    MLP         norm's output, the gate's activation, up, their product; or at `up`, if that is adapted,
                the activation, W x, B A x and its multiple

and its backward pass, which the gradient passes from the end, at one of four moments:

    last norm   where a norm follows the MLP: all that is kept, and five fp32 tensors as wide as the hidden states
    MLP         all that is kept, and three gradients as wide as the MLP in place of the product's input
    attention   half the norms and the attention, and two fp32 gradients of the scores for their 16-bit copy
    queries     where they are normalised: half the norms, and what their norm needs
"""

from lora_lab.memory.dtypes import FLOAT16
from lora_lab.memory.kept import Kept
from lora_lab.memory.settings import Setup

NORM_BACKWARD = 5 * 4  # bytes per value: an RMSNorm goes backward through five fp32 tensors as wide as its input


class Passing:
    """The moments of one layer, of which `kept` says what stays."""

    def __init__(self, kept: Kept) -> None:
        self.kept, self.s, self.setup, self.family = kept, kept.s, kept.setup, kept.family
        self.w, self.c, self.o = kept.width.weights, kept.width.products, kept.width.outputs
        dense = self.s.intermediate if kept.sparse < 1 else 0
        self.mlp_width = max(dense, self.s.top_k * self.s.expert_width)

    def forward(self) -> float:
        """Beyond the layer's input, if nothing is kept: the norm's output, and the sum before the MLP."""
        positions = 2 * self.family.learned_positions  # the embeddings of tokens and of positions, beside their sum
        return (2 + positions) * self.w * self.s.hidden + max(self.mlp_forward(), self.attention_forward())

    def backward(self) -> float:
        """With what is kept, gradients of weights excluded."""
        norms, attention, mlp = self.kept.norms(), self.kept.attention(), self.kept.mlp()
        moments = (  # last to first, as the backward pass comes to them
            norms + attention + mlp + (self.family.norms == 4) * (NORM_BACKWARD + self.w) * self.s.hidden,
            norms + attention + mlp + max(self.mlp_backward(), self.mlp_again()),
            norms / 2 + attention - self.kept.output() + self.attention_backward(),
            norms / 2 + self.query_norm_backward(),
        )
        return max(moments)

    def mlp_forward(self) -> float:
        """Three tensors as wide as the MLP, and four at an adapter; GELU by way of tanh has four at once. Where gate
        and up are one product, that is two of four, or with its adapter all of six. A mixture's are so, and frozen, for
        each expert of a token, beside the copy of its input."""
        experts = self.c * self.s.top_k * (4 * self.s.expert_width + self.s.hidden)
        return max(experts, self.dense_forward()) if self.kept.sparse else self.dense_forward()

    def dense_forward(self) -> float:
        """The same for an MLP that is no mixture; 0 where each is one."""
        if self.kept.sparse == 1:
            return 0
        adapted = any(self.kept.share.get(name) for name in ("up_proj", "gate_up_proj"))
        wide = (6 if adapted else 4) if self.family.fused else (4 if adapted or not self.family.gated else 3)
        return wide * self.o * self.s.intermediate

    def attention_forward(self) -> float:
        """Up to the weights of the values."""
        scores = self.s.heads * self.setup.seq_len
        if self.kept.drops_scores:  # the softmax, dropout's mask and its output; inputs in fp32, and the query scaled
            return 12 * scores + (4 * 4 + 3 * self.c) * self.s.q_width
        if self.setup.attention == "sdpa":
            return self.kept.sdpa()
        if self.family.conv1d and not self.setup.autocast:  # softmax in the dtype of its input; dropout's mask
            return self.kept.repeated() + (2 + self.s.attention_dropout) * self.c * scores
        unrepeated = 2 * self.c * self.s.kv_width
        return self.kept.repeated() + unrepeated + (8 + self.narrow_scores()) * scores

    def narrow_scores(self) -> int:
        """Of 16-bit scores beside their fp32 copy; float16 on CUDA needs no such copy: that kernel reads it itself."""
        if self.c == 4:
            return 0
        return self.c - (2 if self.setup.device == "cuda" and self.setup.compute_dtype == FLOAT16 else 0)

    def mlp_in_place(self) -> float:
        """Beyond what is kept, when the MLP goes forward with adapters: one's output and its multiple."""
        return 0 if self.kept.full else 2 * self.o * self.mlp_width

    def mlp_backward(self) -> float:
        """Beyond what is kept, when the MLP goes backward: the gradients of the product, of the activation and of up,
        less the product's input, which is done with; and that of the hidden states."""
        product = (1 - self.kept.sparse) * self.kept.product()
        return 3 * self.o * self.mlp_width - product + self.w * self.s.hidden

    def mlp_again(self) -> float:
        """The same when a layer is repeated whose adapters cast their inputs, as PEFT's dense ones do: at `down` the
        product and, under autocast, its cast to the adapter's dtype; at `up` W x, B A x and its multiple, when `up` and
        the copy of the product are not there yet. Beside them the norm's output, the sum before the MLP, and the
        gradients that came from above, of two tensors."""
        width = self.kept.width
        if not (self.setup.checkpointing and width.copies_attention):
            return 0
        cast = self.setup.trainable_dtype.itemsize if self.setup.software.autocast else 0
        at_down, at_up = self.o + cast, width.adapter_inputs  # B A x and its multiple, less the copy as wide as either
        shares = self.kept.share
        up = max(shares.get(name, 0) for name in ("up_proj", "gate_up_proj"))
        tall = max(at_down * shares.get("down_proj", 0), at_up * up)
        return tall * self.mlp_width + 4 * self.w * self.s.hidden

    def attention_backward(self) -> float:
        """The same for the attention, when the MLP is done: two fp32 gradients of the scores for their 16-bit copy; one
        where SDPA drops some of them."""
        plain = self.setup.attention == "eager" and not self.s.attention_dropout
        width = plain * (8 - (self.c if self.c < 4 else 0) + softmax_backward(self.setup)) + 4 * self.kept.drops_scores
        return width * self.s.heads * self.setup.seq_len + 2 * self.w * self.s.hidden

    def query_norm_backward(self) -> float:
        """Where queries are normalised, what that holds when all else of the attention is done."""
        if not self.family.query_norm:
            return 0
        return self.kept.query_norm() + NORM_BACKWARD * self.s.q_width + 2 * self.c * self.s.kv_width


def softmax_backward(setup: Setup) -> int:
    """Bytes per score that the backward pass of eager attention's softmax takes beside its gradients.

    On CUDA, torch makes gradient times output in fp32 before it sums it; where its input was float16, its own gradient
    comes in float16 at once, which gives half of that back (aten/src/ATen/native/cuda/SoftMax.cu).
    """
    if setup.device == "cpu" or setup.attention != "eager":
        return 0
    return 2 if setup.compute_dtype == FLOAT16 else 4
