"""Which layers of a model are its heads: what turns hidden states into an answer, and stays dense.

A head is small, and where it is fresh, as a classifier's is before fine-tuning, it is what training must reach.
transformers keeps heads in 16 bits, and PEFT trains a classifier's in full.

    output layers       what `get_output_embeddings` names: `lm_head`, BERT's `decoder`
    task heads          what a transformers model has beside its body: `score`, `classifier`, `qa_outputs`, …

The body is the child that `base_model_prefix` names. A model that says nothing of this kind has no heads that one could
know of.
"""

from typing import Any

from torch import nn

from lora_lab.wrappers import named_modules, unwrap


def heads(model: nn.Module) -> set[nn.Module]:
    """All modules that are a head or in one, of `model` and of every model within it, without wrappers."""
    return output_layers(model) | task_heads(model)


def output_layers(model: nn.Module) -> set[nn.Module]:
    """The layers over the vocabulary."""
    found = (_output_layer(part) for _, part in named_modules(model))
    return {layer for layer in found if layer is not None}


def task_heads(model: nn.Module) -> set[nn.Module]:
    """All modules beside the body of a transformers model; what holds the layer over the vocabulary is none."""
    found: set[nn.Module] = set()
    for _, part in named_modules(model):
        bodies, output = _bodies(part), _output_layer(part)
        for child in map(unwrap, part.children()) if bodies else ():
            inside = {module for _, module in named_modules(child)}
            if child not in bodies and output not in inside:
                found |= inside
    return found


def _bodies(model: nn.Module) -> list[nn.Module]:
    prefix = getattr(model, "base_model_prefix", None)
    if not isinstance(prefix, str):  # no model of transformers
        return []
    if isinstance(body := getattr(model, prefix, None), nn.Module):
        return [unwrap(body)]
    if "For" in type(model).__name__ and _output_layer(model) is None:  # T5ForQuestionAnswering: encoder and decoder
        return [child for child in map(unwrap, model.children()) if hasattr(child, "base_model_prefix")]
    return []


def _output_layer(model: Any) -> nn.Module | None:
    layer = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    return None if layer is None else unwrap(layer)
