"""Does another program read the adapter that was saved, and answer as the model did that was trained?

Asked token by token: wherever the answers' tokens stand, both models must hold the same next token for the likeliest.
Then greedy decoding gives the same answers, and one forward pass shows it where generating takes sixty.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from lora_lab.data.batches import collate, encode_example
from lora_lab.data.scores import Example
from lora_lab.units import IGNORE

Choices = list[list[int]]


@torch.no_grad()
def choices(
    model: Any, tokenizer: Any, examples: Sequence[Example], answers: Sequence[str], batch_size: int = 8
) -> Choices:
    """The likeliest token at every place of each answer, its end included, after the prompt and what stands before.

    The model stays in the mode that it is in; see `over_bitsandbytes`.
    """
    device = model.get_input_embeddings().weight.device
    encoded = [encode_example(tokenizer, example.prompt, answer) for example, answer in zip(examples, answers)]
    chosen: Choices = []
    for start in range(0, len(encoded), batch_size):
        batch = collate(encoded[start : start + batch_size], tokenizer.pad_token_id)
        labels = batch.pop("labels")
        likeliest = model(**{name: values.to(device) for name, values in batch.items()}).logits.argmax(-1).cpu()
        chosen += [row[:-1][of_row[1:] != IGNORE].tolist() for row, of_row in zip(likeliest, labels)]
    return chosen


def agreeing(one: Choices, other: Choices) -> int:
    """How many answers two models would give alike."""
    return sum(a == b for a, b in zip(one, other, strict=True))


def over(base: Any, folder: Path, **options: Any) -> Any:
    """The base with the saved adapter, put on by `peft`; the options are its own."""
    with _quiet():
        import peft

        return peft.PeftModel.from_pretrained(base, folder, **options)


def over_bitsandbytes(model: Path, folder: Path) -> Any:
    """As most people load a QLoRA adapter: transformers reads a folder into bitsandbytes' NF4, `peft` puts it on.

    The model is in training mode, without any dropout. In evaluation mode bitsandbytes repacks the weights, for good,
    on CPUs that have AVX-512 with bfloat16, and from then on computes in bfloat16: there a near tie may go to the other
    token, and gradients and merged weights are wrong. In training mode it restores float32 on every CPU.

    Args:
        model: the base's folder, in which it is not quantized yet.
        folder: the adapter's.
    """
    with _quiet():
        from transformers import AutoModelForCausalLM, BitsAndBytesConfig

        as_trained = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32,
        )
        base = AutoModelForCausalLM.from_pretrained(
            model, quantization_config=as_trained, dtype=torch.float32, device_map="cpu", local_files_only=True
        )
    return over(base, folder, device_map={"": "cpu"}).train()  # or `peft` moves it to a GPU, where there is one


@contextmanager
def _quiet() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # of bitsandbytes, which peft imports, about kernels that nobody needs here
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft calls what transformers is about to rename
            yield
    finally:
        logging.disable(before)
