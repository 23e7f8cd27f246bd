"""What one decoder layer keeps from the forward to the backward pass, and what it holds while it goes either way.

`kept` and `passing` say it for one token; here it becomes the bytes of a batch.
"""

from dataclasses import dataclass

from lora_lab.memory.kept import Kept
from lora_lab.memory.passing import NORM_BACKWARD, Passing
from lora_lab.memory.reach import adapted
from lora_lab.memory.settings import Setup
from lora_lab.memory.shapes import LinearShape, layer_linears


def depth(setup: Setup) -> int:
    """How many layers go backward: with adapters those from the first adapted one on, since below nothing trains.

    With checkpointing all of them, even if only the head is adapted: transformers then marks the embeddings' output as
    needing a gradient, without which its older, reentrant kind of checkpointing would pass none on
    (transformers 5.23.0, modeling_utils.py:3189).
    """
    layers = setup.sizes.layers
    if setup.saves("embed_tokens") or setup.checkpointing:
        return layers
    return layers - min(_adapted_layers(setup), default=layers)


@dataclass(frozen=True)
class Layer:
    """Bytes of one decoder layer that goes backward, for a whole batch.

    Where adapters differ from layer to layer, it is the average one; with checkpointing, where one layer at a time is
    there, the fullest.

    Attributes:
        kept: between its forward and its backward pass.
        peak: most that is alive in its backward pass, what it keeps included, gradients of weights excluded.
        casts: the part of `kept` that are copies of weights in the dtype of the product; it ignores the batch.
        stream: the hidden states that go in, which are all that checkpointing keeps.
        forward: most that its forward pass makes when nothing is kept.
        adding: most that its forward pass makes beyond what it keeps.
        unneeded: what the first of them does not keep, if its input needs no gradient.
        masks: of eager attention, which all layers share.
        unseen: what checkpointing does not let go of, in LLM.int8's layers.
    """

    kept: int
    peak: int
    casts: int
    stream: int
    forward: int
    adding: int
    unneeded: int
    masks: int
    unseen: int


def layer(setup: Setup) -> Layer:
    """Of the closed forms for one token, what one layer comes to; it keeps nothing if none goes backward."""
    layers, tokens = depth(setup), setup.batch_size * setup.seq_len
    kept = Kept(setup, _shares(setup, layers))
    passing, casts, unpacked = Passing(kept), _casts(kept), _unpacked(setup)
    backward = layers > 0
    return Layer(
        kept=backward * (round(tokens * kept.total()) + casts),
        peak=backward * (round(tokens * (passing.backward() + kept.int8_inputs())) + casts + unpacked),
        casts=casts,
        stream=tokens * kept.width.weights * setup.sizes.hidden,
        forward=round(tokens * passing.forward()) + unpacked,
        adding=round(tokens * passing.mlp_in_place()) + unpacked,
        unneeded=0 if setup.saves("embed_tokens") else backward * round(tokens * kept.unneeded()),
        masks=tokens * kept.masks(),
        unseen=round(tokens * kept.int8_inputs()),
    )


def final_norm(setup: Setup) -> tuple[int, int]:
    """Bytes of the norm behind the last layer: what it keeps with its output, and what its backward pass adds."""
    kept, tokens = Kept(setup, {}), setup.batch_size * setup.seq_len
    h, goes_backward = setup.sizes.hidden, depth(setup) > 0
    return round(
        tokens * (goes_backward * kept.norm() + kept.width.weights * h)
    ), goes_backward * tokens * NORM_BACKWARD * h


def _casts(kept: Kept) -> int:
    """Bytes, not per token: one layer's weights, or its adapters, in the dtype of the product."""
    setup, c = kept.setup, kept.width.products
    if kept.full:
        linear = sum(shape.count * (shape.numel + shape.bias * shape.d_out) for shape in layer_linears(kept.s))
        return c * linear // kept.s.layers if setup.autocast else 0
    if setup.trainable_dtype == setup.compute_dtype or not setup.software.autocast:
        return 0
    widths = {_name(shape): shape.d_in + shape.d_out for shape in layer_linears(kept.s)}
    return round(c * setup.r * sum(share * widths.get(name, 0) for name, share in kept.share.items()))


def _unpacked(setup: Setup) -> int:
    """Bytes, not per token: the largest weight that is unpacked for its product."""
    if setup.method != "qlora":
        return 0
    return setup.unpacked_dtype.itemsize * max(shape.numel for shape in layer_linears(setup.sizes))


def _shares(setup: Setup, layers: int) -> dict[str, float]:
    """Of the layers that go backward, how many have an adapter of that name; of the fullest one, 1 for each."""
    if not setup.adapted:
        return {}
    found = adapted(setup.sizes, setup.target_modules)
    return {_name(shape): 1.0 if setup.checkpointing else shape.count / max(layers, 1) for shape in found}


def _adapted_layers(setup: Setup) -> set[int]:
    """Numbers of the layers that have an adapter."""
    paths = (path for shape in adapted(setup.sizes, setup.target_modules) for path in shape.paths)
    return {int(path.split(".")[2]) for path in paths if "." in path}


# What GPT-2's linear layers are called here, by their place and name: two of them are called c_proj.
_GPT2 = {
    ("attention", "c_attn"): "qkv_proj",
    ("attention", "c_proj"): "o_proj",
    ("mlp", "c_fc"): "up_proj",
    ("mlp", "c_proj"): "down_proj",
}


def _name(shape: LinearShape) -> str:
    return _GPT2.get((shape.group, shape.name), shape.name)
