"""In which width each kind of tensor of a layer is kept: only here does one stack's layer differ from another's."""

from lora_lab.memory.settings import Setup


class Widths:
    """Bytes per value, and which copies a layer makes.

    PEFT's dense layer, under LoRA            x → W x + B A x.to(dtype of A)
    PEFT's 4-bit layer over bitsandbytes      the same, and W x comes back in the dtype of x
    this package's layers                     x, cast once to the dtype of the products, is read by W and by A
    """

    def __init__(self, setup: Setup) -> None:
        self.setup, self.stack = setup, setup.software
        self.weights = setup.weight_dtype.itemsize  # and hidden states between layers
        self.products = setup.compute_dtype.itemsize

    @property
    def outputs(self) -> int:
        """Of what a linear layer gives: bitsandbytes restores the dtype of the input, which is that of the weights."""
        restored = self.setup.method == "qlora" and self.stack.restores_dtype
        return self.weights if restored else self.products

    @property
    def adapter_inputs(self) -> int:
        """Of the input that an adapter keeps for the gradient of A: without autocast, PEFT's is in the dtype of A."""
        cast = self.stack.copies_inputs and not self.stack.autocast
        return self.setup.trainable_dtype.itemsize if cast else self.products

    @property
    def one_copy_each(self) -> bool:
        """Whether layers that read the same input each keep a copy of it: autocast makes one for each product, and
        PEFT's adapters one each where they cast."""
        return self.setup.autocast or self.adapters_cast

    @property
    def copies_attention(self) -> bool:
        """Whether attention's output is kept twice, as SDPA gave it and as the adapter's copy of it: in PEFT's dense
        layers, where their cast makes another tensor of it."""
        return self.setup.method == "lora" and self.adapters_cast

    @property
    def adapters_cast(self) -> bool:
        """Whether each adapter makes a copy of its input in its own dtype, as PEFT's `_cast_input_dtype` does (peft
        0.21.2, tuners/tuners_utils.py:2233, unless it finds the dtype that it wants); its quantized layers leave
        that to CUDA's autocast where there is one (tuners/lora/bnb.py:543, which does not ask for a CPU's)."""
        if not self.setup.adapted or not self.stack.copies_inputs:
            return False
        if self.setup.method == "qlora" and self.stack.autocast and self.setup.device == "cuda":
            return False
        return self.setup.trainable_dtype != self.setup.weight_dtype
