"""Small models of families that have what a Llama lacks: biases, Conv1D, a classifier's head."""

import peft
import torch
from packaging.version import Version
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel

IDS = torch.arange(12).view(2, 6) * 5 % 50
LOSES_BIASES = Version(peft.__version__) < Version("0.21")
"""PEFT lost those of "lora_only" on saving for years, since it looked for them beside the base layer."""

_BERT = {
    "vocab_size": 50,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 20,
}


def _with_biases(model: torch.nn.Module) -> torch.nn.Module:
    """They are zero in a fresh model, so that a lost or doubled one would not show."""
    for name, parameter in model.named_parameters():
        if "bias" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


def tiny_gpt2(seed: int = 0) -> GPT2LMHeadModel:
    torch.manual_seed(seed)
    config = GPT2Config(vocab_size=50, n_embd=24, n_layer=2, n_head=2, n_positions=20, bos_token_id=0, eos_token_id=0)
    return _with_biases(GPT2LMHeadModel(config))


def tiny_bert(seed: int = 0) -> BertForMaskedLM:
    torch.manual_seed(seed)
    return _with_biases(BertForMaskedLM(BertConfig(**_BERT)))


def tiny_classifier(seed: int = 0) -> BertForSequenceClassification:
    torch.manual_seed(seed)
    return _with_biases(BertForSequenceClassification(BertConfig(**_BERT, num_labels=3)))
