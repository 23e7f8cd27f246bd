"""Wrong updates: of LoRA's linear layers, of PiSSA, of embeddings."""

from tests.mutants.library.mutation import Mutation

LAYERS = "lora_lab/lora/layers.py"
PISSA = "lora_lab/lora/pissa.py"
EMBEDDING = "lora_lab/lora/embedding.py"

TESTS = (
    "tests/lora/test_update.py",
    "tests/lora/test_inits.py",
    "tests/lora/test_layers.py",
    "tests/lora/test_kinds.py",
    "tests/lora/test_against_peft.py",
)

MUTATIONS = (
    Mutation(
        file=LAYERS,
        before="total = weight.to(torch.promote_types(weight.dtype, delta.dtype)) + delta",
        after="total = weight + delta.to(weight.dtype)",
        test="tests/lora/test_update.py::test_a_merged_weight_is_the_sum_rounded_once[False-factors0-dtype0]",
        wrong="merged bf16 weights are rounded twice",
    ),
    Mutation(
        file=LAYERS,
        before="with torch.autocast(device, enabled=False) if",
        after="with torch.autocast(device, enabled=torch.is_autocast_enabled(device)) if",
        test="tests/lora/test_update.py::test_a_merged_weight_is_the_sum_rounded_once[True-factors0-dtype0]",
        wrong="within autocast a merge is in 16 bits",
    ),
    Mutation(
        file=LAYERS,
        before="if u.dtype == h.dtype and h.dtype.itemsize == 2:",
        after="if u.dtype == h.dtype and h.dtype.itemsize == 1:",
        test="tests/lora/test_update.py::test_the_update_is_not_rounded_before_it_is_added[shape0-dtype0]",
        wrong="the update is rounded before it is added",
    ),
    Mutation(
        file=LAYERS,
        before='if self.config.update_dtype == "factors":',
        after='if self.config.update_dtype == "float32":',
        test="tests/lora/test_update.py::"
        "test_with_the_dtype_of_the_factors_the_layer_is_peft_s_in_outputs_and_gradients[0.0-shape0-dtype0]",
        wrong="the dtype of the update cannot be chosen",
    ),
    Mutation(
        file=LAYERS,
        before="of rank {len(self.lora_A)} with scaling {self.scaling:.9g}",
        after="of rank {len(self.lora_A)}",
        test="tests/quant/test_state.py::"
        "test_a_state_is_not_loaded_into_an_adapter_that_means_something_else[safetensors-True-other0-"
        "scaling 2, and this layer is LoRA of rank 8 with scaling 4]",
        wrong="factors load into a layer with another scaling",
    ),
    Mutation(
        file="lora_lab/lora/config.py",
        before="return self.alpha / (math.sqrt(self.r) if self.use_rslora else self.r)",
        after="return self.alpha / math.sqrt(self.r)",
        test="tests/lora/test_update.py::"
        "test_with_the_dtype_of_the_factors_the_layer_is_peft_s_in_outputs_and_gradients[0.0-shape0-dtype0]",
        wrong="α/√r for α/r",
    ),
    Mutation(
        file=PISSA,
        before="torch.cat([B - self.start_B, self.start_B], dim=1)",
        after="torch.cat([B, self.start_B], dim=1)",
        test="tests/lora/test_inits.py::test_pissa_trains_the_strongest_directions_and_its_update_is_the_difference_"
        "from_the_start",
        wrong="PiSSA's start is not subtracted",
    ),
    Mutation(
        file=PISSA,
        before="self.start_B, self.start_A, thinned - x)",
        after="self.start_B, self.start_A, x - thinned)",
        test="tests/lora/test_inits.py::test_dropout_thins_out_the_trained_product_of_pissa_only",
        wrong="dropout thins out PiSSA's frozen product too",
    ),
    Mutation(
        file=EMBEDDING,
        before="        nn.init.normal_(self.lora_B)\n",
        after="        nn.init.zeros_(self.lora_B)\n        nn.init.normal_(self.lora_A)\n",
        test="tests/lora/test_kinds.py::test_an_id_that_never_occurs_keeps_its_row",
        wrong="an embedding's A starts at random and B at zero",
    ),
    Mutation(
        file="lora_lab/lora/config.py",
        before='("lora_embedding_A", "lora_embedding_B")',
        after='("lora_embedding_B", "lora_embedding_A")',
        test="tests/lora/test_kinds.py::test_an_embedding_s_folder_goes_to_peft_and_back",
        wrong="an embedding's A and B change their names on disk",
    ),
)
