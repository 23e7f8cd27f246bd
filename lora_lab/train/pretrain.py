"""Make the embedded base model: a tokenizer and a small Llama, from nothing but the generated world.

    python -m lora_lab.train.pretrain --out out/base

The same recipe on the same machine, with the same number of threads, gives the same weights.
"""

import argparse
import json
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tqdm.auto import tqdm
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lora_lab import ranges
from lora_lab.data import corpus, tasks
from lora_lab.data.batches import CHAT_TEMPLATE, encode, pack
from lora_lab.data.world import World
from lora_lab.disk import writable_folder
from lora_lab.train import losses
from lora_lab.train.evaluate import mean_loss, reading, recall
from lora_lab.train.folder import write
from lora_lab.train.loop import run
from lora_lab.train.optimizers import MakeOptimizer, Named
from lora_lab.train.schedules import Schedule
from lora_lab.units import IGNORE

POSITIONS = 512
SMALLEST_VOCABULARY = 256 + len(corpus.CONTROL_TOKENS)  # every byte is a token


@dataclass(frozen=True)
class Recipe:
    """All that decides the embedded base; the defaults are what is shipped.

    Raises:
        TypeError: for a number of the wrong type.
        ValueError: for one out of range.
    """

    people: int = 64
    seed: int = 0
    vocab_size: int = 1024
    hidden_size: int = 192
    intermediate_size: int = 512
    layers: int = 4
    heads: int = 6
    kv_heads: int = 2
    steps: int = 2000
    dictation_steps: int = 800  # how long `corpus.EARLY` holds before `corpus.LATE` takes over
    rows: int = 15
    length: int = 256
    matrix_lr: float = 5e-3  # Muon, rescaled to the update size of AdamW
    other_lr: float = 2e-3  # AdamW, for embeddings and norms
    warmup: int = 50
    threads: int = 2

    def __post_init__(self) -> None:
        for name in ("people", "hidden_size", "intermediate_size", "layers", "heads", "kv_heads"):
            ranges.whole(name, getattr(self, name))
        for name in ("steps", "rows", "warmup", "threads"):
            ranges.whole(name, getattr(self, name))
        ranges.seed(self.seed)
        ranges.whole("dictation_steps", self.dictation_steps, 0)
        ranges.whole("vocab_size", self.vocab_size, SMALLEST_VOCABULARY)
        ranges.whole("length", self.length, 1, POSITIONS)
        ranges.real("matrix_lr", self.matrix_lr, above=0, most=1)
        ranges.real("other_lr", self.other_lr, above=0, most=1)
        if self.hidden_size % (2 * self.heads):  # rotary positions turn pairs
            raise ValueError(f"hidden_size={self.hidden_size}: choose a multiple of 2 · heads = {2 * self.heads}")
        if self.heads % self.kv_heads:
            raise ValueError(f"kv_heads={self.kv_heads}: choose a divisor of heads={self.heads}")


def make_tokenizer(world: World, vocab_size: int, seed: int = 0, documents: int = 20_000) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on `documents` of the pretraining text; each digit is a token of its own."""
    rng = random.Random(seed)
    texts = (corpus.draw(world, rng, corpus.EARLY) for _ in range(documents))
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=list(corpus.CONTROL_TOKENS),
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=corpus.START,
        eos_token=corpus.END,
        pad_token=corpus.PAD,
        additional_special_tokens=[corpus.USER, corpus.ASSISTANT],
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """The untrained model, float32, with tied embeddings."""
    torch.manual_seed(recipe.seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.hidden_size,
            intermediate_size=recipe.intermediate_size,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            num_key_value_heads=recipe.kv_heads,
            max_position_embeddings=POSITIONS,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def batches(recipe: Recipe, world: World, tokenizer: PreTrainedTokenizerFast) -> Iterator[dict[str, torch.Tensor]]:
    """One packed batch per step, with the mix of its stage."""
    rng = random.Random(f"pretrain {recipe.seed}")
    for step in range(recipe.steps):
        shares = corpus.EARLY if step < recipe.dictation_steps else corpus.LATE
        yield packed(world, tokenizer, rng, shares, recipe.rows, recipe.length)


def packed(
    world: World,
    tokenizer: PreTrainedTokenizerFast,
    rng: random.Random,
    shares: dict[str, float],
    rows: int,
    length: int,
) -> dict[str, torch.Tensor]:
    """Windows of fresh documents: `input_ids` and `labels`, each int64 [rows, length]."""

    def next_document() -> list[int]:
        return encode(tokenizer, corpus.draw(world, rng, shares))

    return pack(next_document, rows, length, tokenizer.pad_token_id)


def muon_and_adamw(recipe: Recipe) -> MakeOptimizer:
    """Muon for the matrices inside the layers (Jordan, 2024), AdamW for the rest.

    In trials AdamW alone had learned to read one attribute of five where Muon had learned all.
    """

    def make(named: Named) -> list[torch.optim.Optimizer]:
        matrices = [p for name, p in named if p.ndim == 2 and "embed_tokens" not in name]
        others = [p for name, p in named if p.ndim != 2 or "embed_tokens" in name]
        return [
            torch.optim.Muon(matrices, lr=recipe.matrix_lr, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=recipe.other_lr, weight_decay=0.0),
        ]

    return make


def trapezoid(warmup: int) -> Schedule:
    """A short warm-up, level, then falling linearly over the second half."""
    return lambda step, steps, peak: peak * min(1.0, (step + 1) / warmup, 2 * (steps - step) / steps)


def measure(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, world: World) -> dict[str, Any]:
    """What a model card reports: exact recall, reading, and nats per token on fresh documents of each kind."""
    by_kind = {}
    for kind in corpus.KINDS:
        batch = packed(world, tokenizer, random.Random(f"fresh {kind}"), {kind: 1.0}, rows=32, length=256)
        by_kind[kind] = round(mean_loss(model, [batch]), 4)
    return {
        "recall": recall(model, tokenizer, world),
        "reading": reading(model, tokenizer, tasks.reading(1000)),
        "loss": by_kind,
    }


def pretrain(recipe: Recipe, out: Path, progress: bool = True, report_every: int = 500) -> dict[str, Any]:
    """Train the model, write it to `out` in bf16, and measure what was written.

    Returns:
        The record that is also written as `pretraining.json`: recipe, scores, losses per domain, seconds.

    Raises:
        OSError: if `out` cannot be written in; before training.
        FloatingPointError: if the loss or the gradient stops being finite.
    """
    writable_folder(out if out.exists() else out.parent)
    torch.set_num_threads(recipe.threads)
    started = time.perf_counter()
    world = World.generate(recipe.seed, recipe.people)
    tokenizer = make_tokenizer(world, recipe.vocab_size, recipe.seed)
    model = make_model(recipe, tokenizer)
    tokens = 0
    curve: list[tuple[int, float]] = []

    def counted() -> Iterator[dict[str, torch.Tensor]]:
        nonlocal tokens
        for batch in batches(recipe, world, tokenizer):
            tokens += int((batch["labels"] != IGNORE).sum())
            yield batch

    def on_step(step: int, loss: float) -> None:
        bar.update()
        if step % 50 == 0:
            curve.append((step, round(loss, 4)))
            bar.set_postfix(loss=f"{loss:.3f}")
        if step % report_every == 0 and progress:
            bar.write(
                f"step {step}: recall {recall(model, tokenizer, world):.1%}, "
                f"reading {reading(model, tokenizer, tasks.reading(300)):.1%}"
            )

    with tqdm(total=recipe.steps, disable=not progress, desc="pretraining") as bar:
        run(
            model,
            counted(),
            losses.every_token,
            steps=recipe.steps,
            optimizer=muon_and_adamw(recipe),
            schedule=trapezoid(recipe.warmup),
            seed=recipe.seed,
            on_step=on_step,
        )
    seconds = time.perf_counter() - started
    record = {
        "recipe": asdict(recipe),
        "parameters": model.num_parameters(),
        "tokens": tokens,
        "seconds": round(seconds),
        "torch": torch.__version__.split("+")[0],
    }
    write(model, tokenizer, {**record, "curve": curve}, out)  # first of all: measuring can fail, or be interrupted
    model = model.to(torch.bfloat16).to(torch.float32)  # the scores are of what is shipped: bf16 values
    record |= {**measure(model, tokenizer, world), "curve": curve}
    write(model, tokenizer, record, out)
    return record


def main() -> None:
    """Command line: every field of `Recipe` is an option."""
    parser = argparse.ArgumentParser(description="Pretrain the embedded base model.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    for name, default in asdict(Recipe()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    chosen = vars(parser.parse_args())
    try:
        recipe = Recipe(**{name: chosen[name] for name in asdict(Recipe())})
        record = pretrain(recipe, chosen["out"])
    except (ValueError, OSError, FloatingPointError) as error:
        parser.error(str(error))
    print(json.dumps({key: record[key] for key in ("parameters", "seconds", "recall", "reading", "loss")}, indent=1))


if __name__ == "__main__":
    main()
