"""What a loop asks of a module, whatever it computes."""

from typing import Any

from torch import nn

from lora_lab.wrappers import require_module, unwrap


def inside(model: Any) -> Any:
    """The model without wrappers such as DataParallel or `torch.compile`, which hide its configuration."""
    try:
        return unwrap(model) if isinstance(model, nn.Module) else model
    except ValueError:  # cut into shards: FSDP shows the configuration itself
        return model


def require_weights(model: Any) -> None:
    """Refuse a model that has nothing to compute with.

    Raises:
        TypeError: for anything but a module.
        ValueError: for one without weights, or whose weights are not loaded.
    """
    require_module(model)
    weights = list(model.parameters())
    if not weights:
        raise ValueError("the model has no parameters, so there is nothing to compute with")
    # What accelerate has put on a disk is on "meta" too, and comes when it is needed.
    spread = any(hasattr(module, "hf_device_map") for module in model.modules())
    if any(weight.is_meta for weight in weights) and not spread:
        raise ValueError('the model is on the device "meta", so it has shapes but no weights: load them first')
