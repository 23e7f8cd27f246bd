"""How users of PEFT and the Trainer write a setting that `lora-lab memory` offers as a flag."""

from collections.abc import Mapping
from typing import Any

# Of transformers.TrainingArguments, transformers.BitsAndBytesConfig and peft.get_peft_model.
_WRITTEN = {
    "double_quant": "bnb_4bit_use_double_quant=True",
    "quant_storage": "bnb_4bit_quant_storage=torch.bfloat16",
    "adapter_dtype": "autocast_adapter_dtype=False",
    "attention": 'attn_implementation="sdpa"',
    "upcast_frozen": "without prepare_model_for_kbit_training, with gradient_checkpointing=True",
}
_WRITTEN_UNDER_TRAINER = {
    "checkpointing": "gradient_checkpointing=True",
    "fused_loss": "use_liger_kernel=True",
    "batch_size": "per_device_train_batch_size and gradient_accumulation_steps",
    "optimizer": 'optim="paged_adamw_8bit"',
}


def in_the_stack_s_words(stack: str, change: Mapping[str, Any]) -> str:
    """What to write in place of the flags; empty where the stack is another, or has no words of its own.

    Args:
        stack: "peft", "peft-loop" or another.
        change: the settings of a `Way`.
    """
    known = {"peft": _WRITTEN | _WRITTEN_UNDER_TRAINER, "peft-loop": _WRITTEN}.get(stack, {})
    return "; ".join(known[name] for name in change if name in known)
