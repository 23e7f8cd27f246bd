"""Record QLoRA on the real model with the tools of the trade: bitsandbytes, PEFT and the Trainer of transformers.

    python course/records/real_peft.py        # writes lora_lab/records/real_peft.json; 20 minutes a seed, one core

The task, the rate and the adapters' start are those of `course/records/real.py`; order and schedule are the Trainer's.
Each row is written as soon as it is measured, and one that is there already is not measured again. A later run on
another machine would mix two machines in one record, so delete the file first.

Three seeds, at the rate of `real.py`'s QLoRA; nothing is chosen here. The control, trained on other people's answers,
is in `real_finetune.json`.

A CPU with AVX-512-BF16 repacks bitsandbytes' weights for good in the first evaluation, so every model is measured after
its adapter was saved and loaded onto a base that was loaded anew.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import peft
import torch
from real import BATCH, HELDOUT, RATES, STEPS, WARMUP, WEIGHTS, scored
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    DataCollatorForSeq2Seq,
    Trainer,
    TrainingArguments,
)

from lora_lab import lora, models, records, train
from lora_lab.authoring.execution import pin
from lora_lab.commands import installed, machine
from lora_lab.data import batches, tasks
from lora_lab.disk import read_json, write_json
from lora_lab.models import real

Row = dict[str, Any]

RATE = RATES["qlora"]
VALIDATION = 32
RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "gpu.json"
RECORD = records.FOLDER / "real_peft.json"


def main(folder: Path) -> None:
    """Measure what is missing, what is needed first at first."""
    torch.set_num_threads(1)
    for seed in (0, 1, 2):
        run(folder, seed)


def the_task(seed: int) -> tasks.Task:
    """As in `real.py`, but for the validation split: its people are drawn after the others."""
    return tasks.open_book(train=STEPS * BATCH, heldout=HELDOUT, seed=seed, validation=VALIDATION)


def quantized(folder: Path) -> Any:
    """The base in four bits, as bitsandbytes stores it."""
    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    return AutoModelForCausalLM.from_pretrained(folder, quantization_config=settings, dtype=torch.float32)


def prepared(folder: Path, seed: int) -> Any:
    """PEFT's model, with the start that `train.prepare` would give its adapters."""
    model = peft.prepare_model_for_kbit_training(quantized(folder), use_gradient_checkpointing=False)
    config = peft.LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    model = peft.get_peft_model(model, config)
    with torch.no_grad():
        for name, layer in lora.adapters(start(folder, seed)).items():
            model.get_submodule(f"base_model.model.{name}").lora_A.default.weight.copy_(layer.lora_A)
    return model


def start(folder: Path, seed: int) -> Any:
    """Our QLoRA model before its first step."""
    return train.prepare(models.load(folder)[0], "qlora", seed=seed)


def run(folder: Path, seed: int) -> None:
    """Train with the Trainer; measure a model that was loaded anew."""
    if known(seed):
        return
    tokenizer, task = AutoTokenizer.from_pretrained(folder), the_task(seed)
    model = prepared(folder, seed)
    began = time.perf_counter()
    log = trained(model, tokenizer, task, seed)
    seconds = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as saved:
        model.save_pretrained(saved)
        reader = peft.PeftModel.from_pretrained(quantized(folder), saved).eval()
    row = {"run": "peft", "seed": seed, "lr": RATE, "steps": STEPS, "seconds": round(seconds, 1)}
    row |= {"losses": [round(entry["loss"], 4) for entry in log]}
    row |= {"validation": round(train.answer_loss(reader, tokenizer, task.validation, 16), 4)}
    note(row | scored(reader, tokenizer, task.heldout, [example.prompt for example in task.heldout]))


def trained(model: Any, tokenizer: Any, task: tasks.Task, seed: int) -> list[Row]:
    """What the Trainer logged in each step."""
    encoded = [batches.encode_example(tokenizer, example.prompt, example.answer) for example in task.train]
    with tempfile.TemporaryDirectory() as out:
        arguments = TrainingArguments(
            out,
            max_steps=STEPS,
            per_device_train_batch_size=BATCH,
            learning_rate=RATE,
            lr_scheduler_type="cosine",
            warmup_steps=WARMUP,
            optim="adamw_torch",
            logging_steps=1,
            seed=seed,
            use_cpu=True,
            report_to="none",
            disable_tqdm=True,
            save_strategy="no",
            remove_unused_columns=False,
        )
        pad = DataCollatorForSeq2Seq(tokenizer)  # keeps the labels, and pads them with -100
        trainer = Trainer(model=model, args=arguments, train_dataset=encoded, data_collator=pad)
        trainer.train()
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def gpu() -> list[Row]:
    """What bitsandbytes with PEFT needed for Llama-3.1-8B on a GPU, checkpointed, one text of `seq_len` tokens.

    "cast" tells whether prepare_model_for_kbit_training had cast what is not in 4 bits to fp32.
    """
    sections = read_json(RESULTS, "run benchmarks/gpu.py")["sections"]
    found = []
    for section, peak, cast in (("memory", "measured", True), ("qlora_step", "peak_allocated", False)):
        for row in sections[section]["rows"]:
            if row.get("model") == "llama-3.1-8b" and row["stack"] == "bitsandbytes + PEFT":
                speed = {"tokens_per_s": row["tokens_per_s"]} if "tokens_per_s" in row else {}
                on = {"gpu": sections[section]["on"], "model": row["model"], "seq_len": row["seq_len"], "cast": cast}
                found.append({**on, "peak": row[peak], **speed})
    return found


def rows() -> list[Row]:
    """What was measured already."""
    return records.load("real_peft")["rows"] if RECORD.exists() else []


def known(seed: int) -> bool:
    """Whether it was measured already."""
    return any(row["seed"] == seed for row in rows())


def note(row: Row) -> None:
    """Add one row, in place of one of the same run; a file that is half written never replaces a whole one."""
    others = [old for old in rows() if old["seed"] != row["seed"]]
    head = {
        "model": real.HUB,
        "weights": WEIGHTS,
        "task": "open_book",
        "heldout": HELDOUT,
        "validation": VALIDATION,
        "steps": STEPS,
        "batch_size": BATCH,
        "warmup": WARMUP,
        "seconds": "of training, by the clock, on one thread of a machine that had other work too",
        "gpu": gpu(),
    }
    versions = {"bitsandbytes": installed.version("bitsandbytes") or "not installed"}
    write_json(RECORD, {**head, "machine": {**machine.describe(), **versions}, "rows": [*others, row]})
    print(time.strftime("%H:%M:%S"), row, flush=True)


if __name__ == "__main__":
    pin()
    parser = argparse.ArgumentParser(description="Record PEFT and bitsandbytes on the real model.")
    parser.add_argument("--folder", type=Path, help="the model's folder; by default it is fetched, once")
    main(parser.parse_args().folder or real.fetched())
