"""Examples to train on, and a tokenizer that needs no files."""

import torch

from lora_lab.units import IGNORE


def examples(n: int = 12) -> list[dict[str, list[int]]]:
    """Copy three tokens; lengths differ, so that batches carry different numbers of tokens."""
    generator = torch.Generator().manual_seed(0)
    data = []
    for i in range(n):
        words = torch.randint(1, 256, (3 + i % 4,), generator=generator).tolist()
        data.append({"input_ids": words + words, "labels": [IGNORE] * len(words) + words})
    return data


class Numbers:
    """A tokenizer whose text is its ids."""

    pad_token_id, eos_token_id, bos_token = 0, 1, None

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": [2 + ord(letter) % 200 for letter in text]}

    def decode(self, ids: list[int], skip_special_tokens: bool = False) -> str:
        return " ".join(map(str, ids))


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Normal values, drawn in float32 and then rounded."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
