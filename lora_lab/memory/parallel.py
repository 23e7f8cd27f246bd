"""What each of several GPUs needs, when they train one model together on batches of their own.

    sharding    weights       gradients     optimizer       beside them
    ddp         all           all           all             buckets that gradients are sent in, as large as all of them
    zero1       all           all           a share         a bucket
    zero2       all           a share       a share         a bucket, and the largest gradient until it is sent
    zero3       a share       a share       a share         the same, and weights that were gathered and not yet let go
    fsdp2       a share       a share       a share         one layer's weights, the next one's, and its gradients

The three stages are DeepSpeed's. In mixed precision they train 16-bit weights with 16-bit gradients, and keep fp32
weights with the optimizer's states. So a parameter costs (2 + 2 + 12) bytes, of which 12, 14 or 16 are shared by the
ranks (Rajbhandari et al., arXiv 1910.02054, section 5). FSDP2 keeps the fp32 weights in shares and gathers 16 bits;
what `prepare_model_for_kbit_training` made fp32 stays so in its share, while DeepSpeed makes 16 bits of it. FSDP2
shares 4-bit weights only if they are stored as floating numbers; else each card keeps them whole.

Sources: torch 2.13.0, distributed/fsdp/_fully_shard/_fsdp_param.py:298-316 (a share has ceil(rows / ranks) rows, on the
last rank too), _fsdp_param_group.py:417-489 (when gathered weights come and go), :795 (the next layer is gathered while
one goes backward), :627-668 (when gradients are sent); accelerate 1.15.0, utils/fsdp_utils.py:852-885 (what is gathered
together), :797-812 (4-bit weights are left out unless stored as floating numbers), utils/dataclasses.py:2137 (gradients
are sent in 16 bits); DeepSpeed edaa722, runtime/zero/stage_1_and_2.py:2361 (fp32 gradients for the update), :3081 and
stage3.py:3744 (its own estimates), :742 (a buffer of gradients that stays), partitioned_param_coordinator.py:634 and
config.py:238 (how long gathered weights stay), runtime/engine.py, `_configure_distributed_model` (all parameters
become 16 bits wide); transformers 5.23.0, integrations/deepspeed.py:232 (the bucket).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Unpack

from lora_lab import ranges
from lora_lab.memory.activations import layer as layer_of
from lora_lab.memory.closed_form import at_rest, moments, saved, trained
from lora_lab.memory.optimizers import state_bytes
from lora_lab.memory.reach import notes
from lora_lab.memory.result import COMPONENTS, PHASES, MemoryEstimate, Moment
from lora_lab.memory.settings import Options, Setup
from lora_lab.memory.shapes import Weight
from lora_lab.memory.shardings import SHARDINGS, Sharding, as_kept, refuse_unshared, shared_notes
from lora_lab.memory.shares import tensors
from lora_lab.memory.sizes import Sized
from lora_lab.memory.stacks import with_defaults
from lora_lab.units import Method

LIVE = 10**9  # parameters that ZeRO 3 keeps gathered, or updates at a time, unless told otherwise: config.py:238

KNOWN_ERROR = (
    "ddp and fsdp2: 5 % at most against torch's own on the CPU, with toys of some MB; zero1 to zero3: exact in shares "
    "of weights, gradients and states, otherwise by the source alone; no run on GPUs was compared"
)


def estimate_rank(
    config: Sized, method: Method = "lora", ranks: int = 2, sharding: Sharding = "fsdp2", **options: Unpack[Options]
) -> MemoryEstimate:
    """Predict what the fullest of several ranks needs for a training step, in closed form.

        memory.estimate_rank("llama-3.1-70b", "qlora", ranks=2, sharding="fsdp2", checkpointing=True).table()

    Buffers for sending, and gathered weights, are `workspace`; DDP's are there at rest too. What the ranks share of
    weights, gradients and states is exact; `trainable_params` are the model's, not the rank's.

    Args:
        config, method: as for `memory.estimate`.
        ranks: GPUs among which the model is shared.
        sharding: one of `SHARDINGS`.
        options: as for `memory.estimate`; `batch_size` is one rank's. Under all but "ddp" a stack that trains in 16
            bits alone keeps what trains in fp32 (`precision="mixed"`), unless told otherwise.

    Raises:
        TypeError, ValueError: as `memory.estimate`; for an unknown sharding; for what ranks cannot share, such as
            `offload` with more than "ddp", or the states of bitsandbytes' optimizers with "fsdp2".
    """
    ranges.choice("sharding", sharding, SHARDINGS)
    asked = Setup(config, method, **with_defaults(method, options, sharding))
    refuse_unshared(asked, ranks, sharding)
    setup = as_kept(asked, sharding)
    timeline = rank_moments(setup, ranks, sharding)
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
        notes=(
            f"each of {ranks} ranks under {sharding}",
            *shared_notes(asked, sharding),
            *notes(setup.sizes, setup.method),
        ),
    )


def rank_moments(setup: Setup, ranks: int, sharding: Sharding) -> list[Moment]:
    """Each critical moment of a step, with what is alive on one rank: as on a single GPU, but for what is shared."""
    local = computed(setup) if sharding != "ddp" else setup
    rank = _RANKS[sharding](setup, ranks)
    all_gradients = _gradient_bytes(local)
    found: list[Moment] = []
    for moment in moments(local):
        again = any(earlier.phase == moment.phase for earlier in found)
        alive = {**dict(zip(COMPONENTS, moment.bytes)), **rank.rest}
        done = alive["gradients"] / all_gradients if all_gradients else 0
        alive["gradients"] = max(round(done * rank.gradients), rank.rest.get("gradients", 0))
        half = f"{moment.phase}, later" if again else moment.phase
        alive["workspace"] += rank.workspace.get(half, rank.workspace[moment.phase])
        found.append(Moment(moment.phase, tuple(alive[name] for name in COMPONENTS)))
    return found


def computed(setup: Setup) -> Setup:
    """The same step as one rank's layers see it: weights are 16 bits wide already when a layer gets them."""
    if not setup.mixed:
        return setup
    return replace(setup, precision="bf16", adapter_dtype=None, upcast_frozen=False)


@dataclass(frozen=True)
class Rank:
    """Bytes on one rank.

    Attributes:
        rest: of the components that are there between steps.
        gradients: of those that it keeps, once all are done.
        workspace: by phase, beside what a single GPU's step takes; where a phase has a second half, as the loss has its
            own backward pass, "later" in the phase may differ.
    """

    rest: Mapping[str, int]
    gradients: int
    workspace: Mapping[str, int]


def _ddp(setup: Setup, ranks: int) -> Rank:
    """Everything everywhere. Buckets live as long as the model (torch 2.13.0, nn/parallel/distributed.py:828: gradients
    are no views of them unless asked)."""
    rest = at_rest(setup)
    buckets = _gradient_bytes(setup)
    kept = {name: rest[name] for name in _STATES}
    return Rank(kept, buckets, dict.fromkeys(PHASES, buckets))


def _zero(setup: Setup, ranks: int, stage: int) -> Rank:
    """DeepSpeed's. Weights, gradients and states lie flat, so that a share is one to the element."""
    local = computed(setup)
    narrow, width = local.trainable_dtype.itemsize, setup.trainable_dtype.itemsize
    values = sum(weight.count * weight.numel for weight in trained(setup))
    share = math.ceil(values / ranks)
    master = width * share if width > narrow else 0  # the fp32 weights, and for the update as many fp32 gradients
    whole = at_rest(local)
    rest = {name: whole[name] for name in _STATES}
    rest["optimizer states"] = state_bytes(setup, [Weight("", (share,), 1)]) + master
    bucket = narrow * min(setup.sizes.hidden**2, values)
    largest = narrow * max((weight.numel for weight in trained(setup)), default=0) if stage > 1 else 0
    live = 0
    if stage == 3:
        frozen_width = local.weight_dtype.itemsize
        parts = tensors(setup, narrow, narrow, frozen_width, frozen_width, packed=True)
        frozen = [t for t in parts if not t.trains]
        rest["frozen weights"] += sum(math.ceil(t.whole(1) / ranks) - t.whole(1) for t in frozen)
        rest["trainable weights"] = rest["gradients"] = narrow * share  # gradients lie in a buffer that stays
        live = min(narrow * LIVE, sum(t.whole(1) for t in parts))
    update = min(master, width * LIVE) if stage == 3 else master  # stage 3 goes by groups of so many parameters
    workspace = {"forward": live, "loss": live + bucket, "backward": live + bucket + largest, "optimizer step": update}
    return Rank(rest, narrow * (values if stage == 1 else share), {"at rest": 0, **workspace})


def _fsdp2(setup: Setup, ranks: int) -> Rank:
    """torch's `fully_shard`, as accelerate applies it: to each layer, to the embeddings, and to norm and head together,
    which stay gathered from the forward to the backward pass. Tied embeddings belong to the latter.

    Around the forward pass of a layer are its weights and the buffer that they came in, and before it the buffer of the
    layer before; around its backward pass the weights, the buffer of the layer below, gradients, and those of the layer
    above in the buffer that they are sent in.
    """
    local = computed(setup)
    narrow = local.trainable_dtype.itemsize
    widths = setup.trainable_dtype.itemsize, narrow, local.weight_dtype.itemsize, setup.weight_dtype.itemsize
    parts = tensors(setup, *widths, packed=setup.quant_storage == "bf16")
    whole, trainable = at_rest(local), [t for t in parts if t.trains]
    frozen = [t for t in parts if not t.trains]
    rest = {
        "frozen weights": whole["frozen weights"] + sum(t.share(ranks) - t.whole(1) for t in frozen),
        "quantization constants": whole["quantization constants"],  # they are no parameters, and stay whole
        "trainable weights": sum(t.share(ranks) for t in trainable),
        "optimizer states": state_bytes(setup, [_local(weight, ranks) for weight in trained(setup)]),
    }
    layers, tied = setup.sizes.layers, setup.sizes.tied
    gathered = {part: sum(t.whole(ranks) for t in parts if t.part == part) for part in _PARTS}
    sent = {part: sum(t.whole(ranks) for t in trainable if t.part == part) for part in _PARTS}
    for bytes_of in (gathered, sent):
        bytes_of["layers"] //= layers
        if tied:
            bytes_of["tail"], bytes_of["embeddings"] = bytes_of["tail"] + bytes_of["embeddings"], 0
    one = layer_of(local)
    alone = one.kept * (not setup.checkpointing) + one.forward  # a layer's weights come before its activations
    layer, tail, kept = gathered["layers"], gathered["tail"], gathered["tail"] if tied else 0
    held = sent["tail"] if tied else 0  # gradients that wait for the embedding's
    workspace = {
        "at rest": 0,
        "forward": kept
        + max(2 * layer, 3 * layer - alone, 2 * gathered["embeddings"], (not tied) * (layer + 2 * tail)),
        "loss": tail + max(layer * tied, tail * (not tied)),  # the last buffer that came
        "loss, later": tail,
        "backward": tail + layer + sent["tail"],
        "backward, later": kept + held + 2 * layer + max(sent["layers"], sent["tail"] * (not tied)),
        "optimizer step": 0,
    }
    return Rank(rest, sum(t.share(ranks) for t in trainable), workspace)


def _gradient_bytes(setup: Setup) -> int:
    """Of all that trains, the copies of `modules_to_save` included."""
    adapters = sum(weight.count * weight.numel for weight in trained(setup))
    copies = sum(weight.numel for weight in saved(setup))
    return setup.trainable_dtype.itemsize * adapters + setup.weight_dtype.itemsize * copies


def _local(weight: Weight, ranks: int) -> Weight:
    return replace(weight, shape=(math.ceil(weight.shape[0] / ranks), *weight.shape[1:]))


_STATES = ("frozen weights", "quantization constants", "trainable weights", "optimizer states")
_PARTS = ("embeddings", "layers", "tail")
_RANKS: dict[Sharding, Callable[[Setup, int], Rank]] = {
    "ddp": _ddp,
    "zero1": partial(_zero, stage=1),
    "zero2": partial(_zero, stage=2),
    "zero3": partial(_zero, stage=3),
    "fsdp2": _fsdp2,
}
