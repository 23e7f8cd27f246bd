"""The memory of a training step in closed form: what is alive at each of its critical moments.

The peak is the largest of these moments, never the sum of all parts.
"""

from typing import Unpack

from lora_lab.memory.activations import depth, final_norm, layer
from lora_lab.memory.optimizers import state_bytes, update_bytes
from lora_lab.memory.reach import StoredWeights, adapted, int8_weights, notes, quantized_weights
from lora_lab.memory.result import COMPONENTS, PHASES, MemoryEstimate, Moment
from lora_lab.memory.settings import Options, Setup
from lora_lab.memory.shapes import Weight, parameters, weights
from lora_lab.memory.sizes import Sized
from lora_lab.memory.stacks import with_defaults
from lora_lab.units import Method

KNOWN_ERROR = (
    "0.1 % in the median and 1.2 % at most against memory.simulate, over 50 settings of presets from 124 M to 72 B, "
    "most of them with sdpa and all-linear; toys of a few MB can be further off"
)

Bytes = dict[str, int]


def estimate(config: Sized, method: Method = "lora", **options: Unpack[Options]) -> MemoryEstimate:
    """Predict the memory of a training step by closed forms, in milliseconds.

    Weights, constants, gradients and optimizer states are exact; activations are sums of the tensors that autograd
    keeps (see `lora_lab.memory.activations`).

        memory.estimate("llama-3.1-8b", "qlora", r=16, seq_len=2048, checkpointing=True).table()

    Args:
        config: a `transformers` config, the name of a preset, or a folder.
        method: "full", "lora" or "qlora".
        options: the fields of `Setup`. `offload="optimizer"` keeps the optimizer's states on the host;
            `offload="weights"` keeps the layers' frozen weights there and brings in one layer at a time;
            `offload="activations"` the checkpoints, but for one in use and one on its way.

    Raises:
        TypeError, ValueError: as `Setup`; for an architecture without closed forms; for targets that match nothing.
    """
    setup = Setup(config, method, **with_defaults(method, options))
    _refuse(setup)
    timeline = moments(setup)
    peak = max(timeline, key=lambda moment: moment.total)
    return MemoryEstimate(
        how="closed form",
        known_error=KNOWN_ERROR,
        peak_bytes=peak.total,
        peak_phase=peak.phase,
        phases={phase: max(m.total for m in timeline if m.phase == phase) for phase in PHASES},
        components=dict(zip(COMPONENTS, peak.bytes)),
        trainable_params=sum(weight.count * weight.numel for weight in (*trained(setup), *saved(setup))),
        timeline=tuple(timeline),
        notes=notes(setup.sizes, setup.method, setup.quantize_experts),
    )


def trained(setup: Setup) -> list[Weight]:
    """The tensors that train: all of the model's, or A [r, d_in] and B [d_out, r] of every adapter."""
    if not setup.adapted:
        return weights(setup.sizes)
    return [
        Weight(shape.group, factor, shape.count)
        for shape in adapted(setup.sizes, setup.target_modules)
        for factor in ((setup.r, shape.d_in), (shape.d_out, setup.r))
    ]


def saved(setup: Setup) -> list[Weight]:
    """The copies of `modules_to_save`, which have the dtype of their originals."""
    shape = (setup.sizes.vocab, setup.sizes.hidden)
    groups = {"embed_tokens": "embeddings", "lm_head": "head"}
    return [Weight(groups[name], shape, 1) for name in setup.modules_to_save]


def at_rest(setup: Setup) -> Bytes:
    """Bytes that are there between steps, exactly; `activations` are the batch, int64 ids and labels."""
    width = setup.weight_dtype.itemsize
    trainable = trained(setup)
    stored = {"frozen weights": 0, "quantization constants": 0}
    if setup.method == "lora":
        stored["frozen weights"] = width * parameters(setup.sizes).total
    elif setup.method == "qlora":
        found = _quantized(setup)
        stored = {"frozen weights": found.packed + found.dense, "quantization constants": found.constants}
    if setup.offload == "weights":
        stored = _one_layer_of(setup, stored)
    stored["frozen weights"] += _buffers(setup)
    return stored | {
        "trainable weights": sum(setup.trainable_dtype.itemsize * w.count * w.numel for w in trainable)
        + width * sum(w.numel for w in saved(setup)),
        "optimizer states": state_bytes(setup, trainable) + state_bytes(setup, saved(setup), setup.weight_dtype),
        "activations": 2 * 8 * setup.batch_size * setup.seq_len,
    }


def _quantized(setup: Setup) -> StoredWeights:
    s, width = setup.sizes, setup.weight_dtype.itemsize
    if setup.base == "int8":
        return int8_weights(s, width)
    return quantized_weights(s, setup.block_size, setup.double_quant, width, with_experts=setup.quantize_experts)


def moments(setup: Setup) -> list[Moment]:
    """Each critical moment of a step, in order, with what is alive then."""
    decoder, layers = layer(setup), depth(setup)
    norm, norm_backward = final_norm(setup)
    during, after, outputs = loss_bytes(setup)
    rest, gradients = at_rest(setup), _gradients(setup)
    total, again = sum(gradients.values()), setup.accumulation > 1

    def at(phase: str, held: int = 0, activations: int = 0, loss: int = 0, workspace: int = 0) -> Moment:
        alive = {
            **rest,
            "gradients": total if again else held,  # those of earlier passes are all there
            "activations": rest["activations"] + activations,
            "logits and loss": loss,
            "workspace": workspace,
        }
        return Moment(phase, tuple(alive[name] for name in COMPONENTS))

    # What the layers keep in all, what those below the last keep, and what is left when only the first is to be done.
    if setup.checkpointing:
        streams = min(2, layers) if setup.offload == "activations" else layers  # one in use, one on its way
        kept = below = streams * decoder.stream + decoder.masks + layers * decoder.unseen
        left = decoder.stream + decoder.masks + decoder.unseen
        casts = layers * decoder.casts if setup.autocast else 0  # autocast holds them until the forward pass is over
    else:
        kept, left, casts = layers * decoder.kept - decoder.unneeded, 0, 0
        below = kept - decoder.kept if layers else 0
    frozen = decoder.stream + decoder.masks if layers < setup.sizes.layers else 0  # a layer's input, below all adapters
    before = outputs if again else 0  # kept ones of the pass before
    early, update = setup.optimizer_in_backward, update_bytes(setup, trained(setup))
    all_but_first = total - gradients["embeddings"] - gradients["layer"]
    # The embeddings' output, which transformers then marks as needing a gradient (see `activations.depth`), and that.
    marked = 2 * decoder.stream if setup.checkpointing and not setup.saves("embed_tokens") else 0
    return [
        Moment("at rest", tuple(rest.get(name, 0) for name in COMPONENTS)),
        at("forward", 0, max(below, frozen) + casts, before, decoder.forward),
        at("forward", 0, kept + casts + norm, before, 0 if setup.checkpointing else decoder.adding),
        at("loss", 0, kept + casts + norm, before + during),
        at("loss", 0, kept + norm, outputs + after),
        at("loss", _updated_head(setup), kept + norm, outputs, early * update),
        at("backward", gradients["head"], kept + norm, outputs, norm_backward),
        at("backward", gradients["head"], below + decoder.peak, outputs),
        at("backward", all_but_first, left + decoder.peak, outputs),
        at("backward", total, max(left, marked), outputs, max(_last_gradient(setup), early * update)),
        at("optimizer step", 0 if early else total, marked, outputs, 0 if early else update),
    ]


def _gradients(setup: Setup) -> Bytes:
    """Bytes of gradients: of the embeddings, of all layers but one, of one layer, of the head."""
    width = setup.trainable_dtype.itemsize
    found = {"embeddings": 0, "layers": 0, "head": 0}
    for weight in trained(setup):
        part = weight.group if weight.group in found else "layers"
        found[part] += width * weight.count * weight.numel
    for weight in saved(setup):
        found[weight.group] += setup.weight_dtype.itemsize * weight.numel
    if not setup.adapted and setup.sizes.tied:  # the head's share comes first, and waits for the embedding's
        found["head"], found["embeddings"] = found["embeddings"], 0
    if setup.optimizer_in_backward:  # each has gone before the next layer's come; only a tied head's waits
        found = {**found, "layers": 0, "head": found["head"] * (setup.sizes.tied and not setup.adapted)}
    one = found["layers"] // max(depth(setup), 1)
    return {**found, "layers": found["layers"] - one, "layer": one}


def loss_bytes(setup: Setup) -> tuple[int, int, int]:
    """Bytes of logits and loss: most in the forward pass, most in the backward pass, and of kept outputs.

        forward    logits, in fp32 if they are not, and their log-softmax         8 V n, and 2 V n in bf16
        backward   the log-softmax, its gradient, and that of the logits         12 V n

    with V the vocabulary and n the tokens at a time; or, if that is more, the gradients of the head. A fused loss makes
    none of this: a log-sum-exp and a logit per token, and the gradients of the hidden states and of the head.
    """
    s, c = setup.sizes, setup.compute_dtype.itemsize
    tokens = setup.batch_size * setup.seq_len
    n = min(setup.chunked_loss or tokens, tokens)
    values = s.vocab * n
    capped = c * values if s.logit_cap else 0
    weight = s.vocab * s.hidden
    copy = setup.autocast * c * weight  # the head's weight in the dtype of the product
    outputs = setup.keep_outputs * c * values
    narrow = c * values if c < 4 else 0
    stream = setup.weight_dtype.itemsize * s.hidden * tokens
    product = c * weight if setup.saves("lm_head") else 0  # the head's gradient as the product gives it
    gradient = product + (setup.weight_dtype.itemsize * weight if product and setup.autocast else 0)
    if setup.fused_loss:  # a log-sum-exp and a logit per token; the gradients of the hidden states and of the head
        return 8 * tokens + copy, 8 * tokens + stream + gradient + copy, 0
    backward = max(12 * values + capped, c * values + stream + gradient)
    if setup.chunked_loss:  # gradients of the hidden states and of the head gather up; each sum is a new tensor
        sums = product + max(12 * values + capped, c * values + product, (1 if setup.autocast else 2) * product)
        backward = sums + stream
    return 8 * values + narrow + capped + copy, backward + copy, outputs


def _updated_head(setup: Setup) -> int:
    """Bytes of the head's gradient when it is updated within the backward pass, while all activations are there."""
    s = setup.sizes
    there = setup.optimizer_in_backward and not setup.adapted and not s.tied
    return there * setup.trainable_dtype.itemsize * s.vocab * s.hidden


def _last_gradient(setup: Setup) -> int:
    """The embedding's gradient comes last: beside the head's if it is tied, then their sum, which is a new tensor where
    the head's is a view; beside that of earlier passes."""
    s, copies = setup.sizes, int(setup.accumulation > 1)
    if not setup.adapted and s.tied:
        copies += 1 if setup.autocast or setup.chunked_loss else 2
    return setup.saves("embed_tokens") * copies * setup.weight_dtype.itemsize * s.vocab * s.hidden


def _buffers(setup: Setup) -> int:
    """Inverse frequencies of the rotary embedding, twice in fp32, for each kind of layer in Gemma 3; Gemma's scale."""
    s = setup.sizes
    if s.family.learned_positions:
        return 0
    kinds = s.kinds if s.family.rotary_kinds else 1
    return kinds * 2 * 4 * (s.head_dim // 2) + s.family.wide_norm * setup.weight_dtype.itemsize


def _one_layer_of(setup: Setup, stored: Bytes) -> Bytes:
    """Bytes on the device when only one layer's frozen weights are there, with what is outside the layers."""
    groups, s = parameters(setup.sizes), setup.sizes
    outside = setup.weight_dtype.itemsize * (groups.embeddings + groups.head)
    return {
        "frozen weights": outside + (stored["frozen weights"] - outside) // s.layers,
        "quantization constants": stored["quantization constants"] // s.layers,
    }


def _refuse(setup: Setup) -> None:
    if setup.attention == "sdpa" and setup.sizes.score_cap:
        raise ValueError(
            f"attention='sdpa' cannot cap the scores as {setup.sizes.model_type!r} does: choose attention='eager'"
        )
    if setup.offload == "weights" and not setup.adapted:
        raise ValueError(
            "offload='weights' moves frozen weights, and method='full' has none: "
            "choose offload='optimizer', or method 'lora' or 'qlora'"
        )
