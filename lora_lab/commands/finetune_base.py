"""The model that a user names: first what is small, its config and tokenizer, and the weights when they are needed."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedConfig

from lora_lab import memory, models
from lora_lab.data.batches import CHAT_TEMPLATE
from lora_lab.memory.presets import load_config
from lora_lab.memory.sizes import FAMILIES
from lora_lab.models import hub
from lora_lab.models.base import require_loadable
from lora_lab.models.tiers import EMBEDDED, REAL
from lora_lab.units import first_line

COMES_WITH_US = (EMBEDDED, REAL)
"""Small enough to be loaded at once."""


@dataclass
class Base:
    """A model to fine-tune.

    Attributes:
        name: as the user gave it.
        own_template: whether prompts are written as the model's own chat template says; known with the tokenizer.
    """

    name: str
    own_template: bool = True

    @cached_property
    def config(self) -> PreTrainedConfig:
        """Without weights, where they are large.

        Raises:
            ValueError, OSError: for a name that is no model's, or one that cannot be had or read.
        """
        if self._folder is None:
            return self._loaded[0].config
        if self.path:
            require_loadable(self.path, "give the folder that a model was saved to")
        config = load_config(self._folder)
        if getattr(config, "quantization_config", None):  # before its weights come
            raise ValueError(f"{self.name} is quantized already: name the model that it was made from")
        return config

    @cached_property
    def tokenizer(self) -> Any:
        """With an end token, a pad token and a chat template: the course's where it has none."""
        tokenizer = self._loaded[1] if self._folder is None else _tokenizer(self._folder)
        self.own_template = bool(tokenizer.chat_template)
        return _made_ready(tokenizer)

    @property
    def device(self) -> Any:
        """Where it will be trained: "cuda" or "cpu"."""
        import torch

        on_cpu = self.name in COMES_WITH_US or not torch.cuda.is_available()
        return "cpu" if on_cpu else "cuda"

    @property
    def dtype(self) -> Any:
        """What its weights are loaded in."""
        return models.choose_dtype(self.device)[0]

    @cached_property
    def parameters(self) -> int:
        """Of the model, each tied weight once."""
        if self.config.model_type in FAMILIES:
            return memory.parameters(self.config).total
        import torch
        from transformers import AutoModelForCausalLM

        try:
            with torch.device("meta"):
                return AutoModelForCausalLM.from_config(self.config).num_parameters()
        except Exception as error:  # transformers has no such causal model, or cannot make one of these numbers
            raise ValueError(f"{self.name} is no causal language model ({first_line(error)}): name another") from error

    @property
    def path(self) -> Path | None:
        """The user's own folder that it lies in, if it does."""
        return Path(self.name) if self.name not in COMES_WITH_US and os.path.isdir(self.name) else None

    @property
    def title(self) -> str:
        """Its name, of a folder without the way there."""
        return self.path.resolve().name if self.path else self.name

    def load(self) -> tuple[Any, Any]:
        """The model, in eval mode, and its tokenizer.

        Raises:
            ValueError, OSError: as `models.load`.
        """
        model, tokenizer = self._loaded
        self.__dict__.pop("_loaded")  # it will be changed
        return model, _made_ready(tokenizer)

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        return models.load(self.name)

    @cached_property
    def _folder(self) -> Path | None:
        """With config and tokenizer; None for a model that is loaded at once."""
        if self.name in COMES_WITH_US:
            return None
        if self.path:
            return self.path
        if "/" not in self.name:  # the sentence is the loader's
            return None
        try:
            return hub.small_files(self.name)
        except OSError:  # as the loader will say
            return None


def _tokenizer(folder: Path) -> Any:
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # a dozen types
        raise ValueError(
            f"no tokenizer can be read in '{folder}' ({first_line(error)}): give the folder that model and tokenizer "
            "were saved to"
        ) from error


def _made_ready(tokenizer: Any) -> Any:
    if tokenizer.eos_token is None:
        raise ValueError("the tokenizer has no end token, so no answer would ever end: give a model whose has one")
    if tokenizer.pad_token is None:  # padding is masked, so any token will do
        tokenizer.pad_token = tokenizer.eos_token
    if not tokenizer.chat_template:
        tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
