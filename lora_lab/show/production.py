"""Fine-tuning as it is done in production: where each call acts, and how far two libraries' losses differ."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator

from lora_lab import ranges
from lora_lab.show.drawing import FROZEN, INK, TRAINED, Drawing, arrow, canvas, matrix, shape, step, words
from lora_lab.show.figures import CONTEXT, POINT
from lora_lab.show.inputs import filled, numbers
from lora_lab.show.rich import Rich
from lora_lab.show.tables import tabulate

_CALL: dict[str, Any] = {"fontsize": 10, "family": "monospace"}  # of a call's name


def library_calls_schematic(d_out: int, d_in: int, r: int) -> Drawing:
    """The calls of a QLoRA run with bitsandbytes, PEFT and transformers, each beside what it makes.

    Args:
        d_out, d_in: rows and columns of the one linear layer that is drawn, at least 1.
        r: the rank, at least 1.

    Returns:
        The figure and its alt text, which holds the shapes.

    Raises:
        TypeError, ValueError: for sizes that are no whole numbers from 1.
    """
    d_out, d_in, r = ranges.whole("d_out", d_out), ranges.whole("d_in", d_in), ranges.whole("r", r)
    title = "A QLoRA run: each call beside what it makes"
    fig, axes = canvas(7.2, 5.0, title)
    file = step(axes, (0.95, 3.75), "tickets.jsonl\nprompt, answer", 1.5)
    batch = step(axes, (0.95, 2.2), "input_ids, labels\n[batch, tokens]", 1.6)
    codes = matrix(axes, (3.65, 3.75), (1.05, 1.4), FROZEN)
    others = matrix(axes, (6.0, 3.75), (1.05, 1.5), FROZEN)
    A = matrix(axes, (3.65, 2.2), (0.32, 1.4), TRAINED)
    B = matrix(axes, (5.55, 2.05), (1.05, 0.36), TRAINED)
    trainer = step(axes, (3.65, 0.75), "loss, backward, step", 1.9)
    folder = step(axes, (6.0, 0.75), "adapter_config.json\nadapter_model.safetensors", 2.2)

    words(axes, codes.centre, f"codes of W\n{shape(d_out, d_in)}\n4 bits each", "on", FROZEN, fontsize=10)
    words(axes, others.centre, "embeddings,\nnorms, head", "on", FROZEN, fontsize=10)
    words(axes, A.centre, f"A {shape(r, d_in)}", "on", TRAINED, fontsize=10)
    words(axes, B.right, f"B {shape(d_out, r)}", "right", TRAINED, fontsize=10)
    calls = {
        "chat template\nand labels": (batch.top[0] + 0.05, (file.bottom[1] + batch.top[1]) / 2),
        "BitsAndBytesConfig": codes.top,
        "prepare_model_for_\nkbit_training": others.top,
        "LoraConfig, get_peft_model": (4.75, 2.64),
        "Trainer": trainer.top,
        "save_pretrained": folder.top,
    }
    for call, spot in calls.items():
        words(axes, spot, call, "right" if "template" in call else "above", **_CALL)
    arrow(axes, file.bottom, batch.top)
    arrow(axes, batch.bottom, (batch.bottom[0], trainer.left[1]), trainer.left)
    arrow(axes, trainer.right, folder.left)
    axes.text(2.45, 3.0, "frozen", ha="left", fontsize=10, color=FROZEN.words)
    axes.text(2.45, 1.72, "trained", ha="left", fontsize=10, color=TRAINED.words)
    axes.plot([2.35, 2.35], [1.45, 4.55], color=INK, linewidth=1)
    alt = (
        f"{title}. Own data, a file of prompts and answers, becomes input_ids and labels [batch, tokens] by the chat "
        f"template. BitsAndBytesConfig makes the frozen 4-bit codes of a weight W {shape(d_out, d_in)}. "
        "prepare_model_for_kbit_training acts on the rest: embeddings, norms and head, frozen too. LoraConfig and "
        f"get_peft_model add the trained A {shape(r, d_in)} and B {shape(d_out, r)}. The Trainer computes loss, "
        "backward pass and step, and save_pretrained writes adapter_config.json and adapter_model.safetensors."
    )
    return Drawing(fig, alt)


def loss_gaps(gaps: Mapping[str, Sequence[float]], allowed: float) -> Drawing:
    """How far the losses of runs are from one run's, step by step, on a logarithmic axis.

    Args:
        gaps: run → |loss − the one run's| / the one run's, for each step; the first run is the point.
        allowed: the largest difference that still counts as the same, above 0.

    Raises:
        TypeError, ValueError: for nothing to draw, or values that are no finite numbers.
    """
    filled("gaps", gaps)
    ranges.real("allowed", allowed, above=0)
    fig, axes = plt.subplots(figsize=(7.2, 3.6))
    largest = {}
    for (name, of_run), marker in zip(gaps.items(), "oDs^v", strict=False):
        numbers(f"the gaps of {name!r}", of_run)
        first = name == next(iter(gaps))
        largest[name] = max(of_run)
        shown = [max(gap, 1e-7) for gap in of_run]  # where two losses are equal to the bit
        axes.plot(range(1, len(shown) + 1), shown, marker=marker, markersize=5,
                  color=POINT if first else CONTEXT, linewidth=2.2 if first else 1.4)  # fmt: skip
        axes.annotate(name, (len(shown), shown[-1]), (9, 0), textcoords="offset points", va="center", fontsize=11,
                      color=POINT if first else CONTEXT, annotation_clip=False,
                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip
    axes.axhline(allowed, color="black", linewidth=1, linestyle="--")
    axes.annotate(f"allowed: {allowed:.2g}", (1, allowed), (0, 3), textcoords="offset points", fontsize=10)
    axes.set(yscale="log", xlabel="step", ylabel="relative difference of the loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    each = ", ".join(f"{run} {100 * gap:.2g} %" for run, gap in largest.items())
    title = f"Largest gap in {len(next(iter(gaps.values())))} steps: {each}"
    fig.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left")
    return Drawing(fig, f"{title}. Lines over the steps, on a logarithmic axis. A dashed line: {allowed:.2g}, allowed.")


def two_libraries(theirs: Sequence[Mapping[str, Any]], ours: Sequence[Mapping[str, Any]], heldout: int) -> Rich:
    """A table of the real model's scores, seed by seed: tuned by PEFT and bitsandbytes, and by ours beside its control.

    Args:
        theirs: rows of the record `real_peft`.
        ours: rows of the record `real_finetune`.
        heldout: how many answers each score is of.

    Raises:
        TypeError, ValueError: for a seed of theirs that ours does not have, or no number of answers.
    """
    ranges.whole("heldout", heldout)
    by_ours = {row["seed"]: row for row in ours if row["run"] == "qlora"}
    control = {row["seed"]: row for row in ours if row["run"] == "qlora, answers shuffled"}
    rows = []
    for row in sorted(theirs, key=lambda row: row["seed"]):
        seed = row["seed"]
        if seed not in by_ours or seed not in control:
            raise ValueError(f"seed {seed}: ours has no such run, or no control of it")
        scores = [by_ours[seed]["exact_before"], row["exact"], by_ours[seed]["exact"], control[seed]["exact"]]
        rows.append([f"{seed}", *(f"{score:.0%}" for score in scores), f"{row['seconds'] / 60:.0f}"])
    headers = ["seed", "before", "PEFT and bitsandbytes", "ours", "ours, on others' answers", "minutes of theirs"]
    scores = [row["exact"] for row in by_ours.values()]
    apart = max(abs(row["exact"] - by_ours[row["seed"]]["exact"]) for row in theirs)
    caption = (
        f"All six fields right, of {heldout} held out, on {len(rows)} of {len(scores)} seeds. The Trainer draws other "
        f"batches: theirs lies up to {round(heldout * apart)} answers from ours. Ours differs by up to "
        f"{round(heldout * (max(scores) - min(scores)))} from seed to seed; the control is ours, too"
    )
    return tabulate(rows, headers, caption)
