"""Wrong LoRA layers and merges."""

from tests.mutants.library.mutation import Mutation

LAYERS = "lora_lab/lora/layers.py"

TESTS = (
    "tests/lora/test_update.py",
    "tests/lora/test_inits.py",
    "tests/lora/test_merging.py",
    "tests/lora/test_layers.py",
    "tests/lora/test_against_peft.py",
)

MUTATIONS = (
    Mutation(
        file=LAYERS,
        before="return weight.to(torch.promote_types(weight.dtype, delta.dtype)) + delta",
        after="return weight + delta.to(weight.dtype)",
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
        file="lora_lab/lora/merging.py",
        before="total = layer.dense_sum().float()",
        after="total = layer.merged_linear().weight.float()",
        test="tests/lora/test_update.py::test_requantizing_rounds_the_sum_to_four_bits_and_not_to_16_before",
        wrong="rounded to 16 bits before it is to four",
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
        file=LAYERS,
        before="torch.cat([B - self.start_B, self.start_B], dim=1)",
        after="torch.cat([B, self.start_B], dim=1)",
        test="tests/lora/test_inits.py::test_pissa_trains_the_strongest_directions_and_its_update_is_the_difference_"
        "from_the_start",
        wrong="PiSSA's start is not subtracted",
    ),
    Mutation(
        file=LAYERS,
        before="self.start_B, self.start_A, thinned - x)",
        after="self.start_B, self.start_A, x - thinned)",
        test="tests/lora/test_inits.py::test_dropout_thins_out_the_trained_product_of_pissa_only",
        wrong="dropout thins out PiSSA's frozen product too",
    ),
    Mutation(
        file=LAYERS,
        before="self.merged_weight, self._merged_from = None, ()",
        after="self._merged_from = ()",
        test="tests/lora/test_update.py::test_a_merged_weight_is_the_sum_rounded_once[False-factors0-dtype0]",
        wrong="unmerge forgets the merged weight",
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
        before="if dense_dtype(base) == torch.float64",
        after="if like.dtype == torch.float64",
        test="tests/lora/test_update.py::test_over_a_float64_base_of_four_bits_too_the_factors_are_float64",
        wrong="float32 factors over a 4-bit base in float64",
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
        file="lora_lab/lora/merging.py",
        before='        refuse_unswappable(f"{name}.base", layer.base)\n',
        after="",
        test="tests/lora/test_merging.py::"
        "test_what_hangs_on_a_base_is_called_and_never_merged_away[forward hook-False]",
        wrong="hooks on a base are merged away",
    ),
    Mutation(
        file="lora_lab/lora/inject.py",
        before="        refuse_hooked(name, layer)\n",
        after="        pass\n",
        test="tests/lora/test_merging.py::test_hooks_on_an_adapted_layer_are_not_dropped_in_silence[remove]",
        wrong="hooks on an adapted layer go with it",
    ),
    Mutation(
        file="lora_lab/lora/targets.py",
        before="            refuse_unreadable(name, module)\n",
        after="            pass\n",
        test="tests/lora/test_layers.py::test_a_layer_without_a_weight_yet_takes_no_adapter",
        wrong="a lazy layer is not named as one",
    ),
    Mutation(
        file="lora_lab/lora/merging.py",
        before="    except BaseException:  # all layers or none, also after Ctrl-C",
        after="    except RuntimeError:",
        test="tests/lora/test_merging.py::test_an_interrupted_merge_leaves_no_layer_merged[merge-KeyboardInterrupt]",
        wrong="an interrupted merge is half done",
    ),
    Mutation(
        file=LAYERS,
        before="torch.promote_types(moved.dtype, torch.float32))\n",
        after="moved.dtype)\n",
        test="tests/lora/test_update.py::"
        "test_casting_a_model_casts_its_base_and_leaves_the_factors_in_float32[bfloat16-kaiming]",
        wrong="casting the model rounds the factors to 16 bits",
    ),
)
