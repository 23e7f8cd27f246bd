"""Adapters put in, used, merged and taken out in a wrong way."""

from tests.mutants.library.mutation import Mutation

ADAPTER = "lora_lab/adapters/adapter.py"
BASES = "lora_lab/adapters/bases.py"
COPIES = "lora_lab/adapters/copies.py"
FOLDING = "lora_lab/adapters/folding.py"
PLACING = "lora_lab/adapters/placing.py"
REGISTER = "lora_lab/adapters/register.py"
_BESIDE = "tests/adapters/test_beside.py"

TESTS = (
    _BESIDE,
    "tests/adapters/test_folding.py",
    "tests/lora/test_layers.py",
    "tests/lora/test_update.py",
    "tests/lora/test_kinds.py",
)

MUTATIONS = (
    Mutation(
        file=PLACING,
        before="        if fill:\n            fill(layers)\n",
        after="        if fill:\n            with put_all(model, layers):\n                pass\n"
        "            fill(layers)\n",
        test="tests/adapters/test_checkpoint.py::test_a_value_that_fits_the_file_but_not_the_factor_is_refused",
        wrong="a refused adapter stays in the model",
    ),
    Mutation(
        file=PLACING,
        before="            placed.notes = note_tensors(root)\n",
        after="        placed.notes = note_tensors(root)\n",
        test="tests/lora/test_layers.py::test_an_injection_that_is_interrupted_while_tensors_are_noted_leaves_nothing_behind",
        wrong="an interrupted injection is half done",
    ),
    Mutation(
        file=PLACING,
        before="            refuse_hooked(where, layer)\n",
        after="            pass\n",
        test="tests/adapters/test_folding.py::test_hooks_on_an_adapted_layer_are_not_dropped_in_silence[remove]",
        wrong="hooks on an adapted layer go with it",
    ),
    Mutation(
        file=REGISTER,
        before="            _train((tensor for _, tensor in layer.own_tensors()), layer.active)\n",
        after="",
        test=f"{_BESIDE}::test_only_the_adapter_in_use_trains",
        wrong="use() does not switch gradients",
    ),
    Mutation(
        file=PLACING,
        before="        layer.base = outermost[key]\n",
        after="        pass\n",
        test=f"{_BESIDE}::test_each_of_two_adapters_computes_as_if_it_were_alone",
        wrong="a second adapter puts out the first",
    ),
    Mutation(
        file=PLACING,
        before="_around(key, modules[key], each, name)",
        after="_around(key, getattr(outermost[key], 'merged_layer', lambda: modules[key])(), each, name)",
        test=f"{_BESIDE}::test_a_second_adapter_starts_from_the_model_s_own_weight",
        wrong="a second PiSSA starts from the weight with the first adapter in it",
    ),
    Mutation(
        file=REGISTER,
        before="    return register.layers_of(register.require_active())\n",
        after="    return register.layers_of(register.names[0])\n",
        test=f"{_BESIDE}::test_merging_takes_the_adapter_in_use",
        wrong="merge takes the adapter that is not in use",
    ),
    Mutation(
        file=REGISTER,
        before="                else:\n                    copies.put(root, inside=False)\n",
        after="                else:\n                    pass\n",
        test=f"{_BESIDE}::test_a_trained_head_is_a_copy_that_can_be_switched_off_and_taken_out",
        wrong="remove leaves the copies in the model",
    ),
    Mutation(
        file=REGISTER,
        before="        for root, copies in inside:\n            copies.put(root, inside=False)\n",
        after="        pass\n",
        test=f"{_BESIDE}::test_a_trained_head_is_a_copy_that_can_be_switched_off_and_taken_out",
        wrong="disabled leaves the copies in use",
    ),
    Mutation(
        file=COPIES,
        before="values = tensor.detach().clone()",
        after="values = tensor.detach()",
        test=f"{_BESIDE}::test_a_trained_head_is_a_copy_that_can_be_switched_off_and_taken_out",
        wrong="training writes to the model's own head",
    ),
    Mutation(
        file=FOLDING,
        before="total, bias = layer.dense_sum()",
        after="total, bias = layer._rounded()",
        test="tests/lora/test_update.py::test_requantizing_rounds_the_sum_to_four_bits_and_not_to_16_before",
        wrong="rounded to 16 bits before it is to four",
    ),
    Mutation(
        file=FOLDING,
        before='        refuse_unswappable(f"{name}.base", layer.core)\n',
        after="",
        test="tests/adapters/test_folding.py::"
        "test_what_hangs_on_a_base_is_called_and_never_merged_away[forward hook-False]",
        wrong="hooks on a base are merged away",
    ),
    Mutation(
        file=FOLDING,
        before="    except BaseException:  # all layers or none, also after Ctrl-C",
        after="    except RuntimeError:",
        test="tests/adapters/test_folding.py::test_an_interrupted_merge_leaves_no_layer_merged[merge-KeyboardInterrupt]",
        wrong="an interrupted merge is half done",
    ),
    Mutation(
        file=ADAPTER,
        before="self.merged_weight = self.merged_bias = None\n",
        after="self.merged_bias = None\n",
        test="tests/lora/test_update.py::test_a_merged_weight_is_the_sum_rounded_once[False-factors0-dtype0]",
        wrong="unmerge forgets the merged weight",
    ),
    Mutation(
        file=ADAPTER,
        before="torch.float64 if self.dtype == torch.float64",
        after="torch.float64 if next(self.core.parameters()).dtype == torch.float64",
        test="tests/lora/test_update.py::test_over_a_float64_base_of_four_bits_too_the_factors_are_float64",
        wrong="float32 factors over a 4-bit base in float64",
    ),
    Mutation(
        file=ADAPTER,
        before="torch.promote_types(moved.dtype, torch.float32))\n",
        after="moved.dtype)\n",
        test="tests/lora/test_update.py::"
        "test_casting_a_model_casts_its_base_and_leaves_the_factors_in_float32[bfloat16-kaiming]",
        wrong="casting the model rounds the factors to 16 bits",
    ),
    Mutation(
        file=BASES,
        before="_CONV1D = replace(_LINEAR, ",
        after="_CONV1D = replace(_LINEAR, weight=lambda layer: layer.weight, ",
        test="tests/lora/test_kinds.py::test_a_merged_conv1d_is_a_conv1d_that_computes_the_same",
        wrong="the weight of a Conv1D is read as it is stored",
    ),
)
