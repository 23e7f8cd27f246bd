"""Wrong (IA)³ and BitFit, and what of the seam they were the first to need."""

from tests.mutants.library.mutation import Mutation

IA3 = "lora_lab/methods/ia3.py"
BITFIT = "lora_lab/methods/bitfit.py"
PLACING = "lora_lab/adapters/placing.py"
REGISTER = "lora_lab/adapters/register.py"

TESTS = (
    "tests/methods/test_ia3.py",
    "tests/methods/test_bitfit.py",
    "tests/methods/test_methods.py",
    "tests/methods/test_example.py",
)

MUTATIONS = (
    Mutation(
        file=IA3,
        before="if bias is not None and not self.config.feedforward:",
        after="if bias is not None and self.config.feedforward:",
        test="tests/methods/test_ia3.py::test_merged_weights_and_biases_are_peft_s[gpt2]",
        wrong="merging scales the bias of the wrong layers",
    ),
    Mutation(
        file=IA3,
        before="return (l * h).to(h.dtype)",
        after="return l.to(h.dtype) * h",
        test="tests/methods/test_ia3.py::test_a_bf16_layer_rounds_its_scaled_output_once",
        wrong="the vector is rounded to 16 bits before it scales",
    ),
    Mutation(
        file=IA3,
        before='[f".*{re.escape(end)}" for end',
        after='[f"(.*\\\\.)?{re.escape(end)}" for end',
        test="tests/methods/test_ia3.py::test_peft_s_folder_is_read_by_us[within a word]",
        wrong="PEFT's ends of names must be whole words",
    ),
    Mutation(
        file=IA3,
        before='"|".join(map(re.escape, before)) if ambiguous else before',
        after="before",
        test="tests/methods/test_ia3.py::test_a_name_that_is_the_end_of_another_s_is_not_taken_for_it[before0]",
        wrong="11.fc is taken for 1.fc",
    ),
    Mutation(
        file=IA3,
        before='name.split(".")[-1] == "down_proj"',
        after='name == "down_proj"',
        test="tests/methods/test_ia3.py::"
        "test_the_default_scales_the_inputs_of_those_targets_that_peft_takes_for_feed_forward[all-linear]",
        wrong="by default no layer's input is scaled",
    ),
    Mutation(
        file=IA3,
        before="meant = [name for",
        after="meant = ['down_proj'] or [name for",
        test="tests/methods/test_ia3.py::test_the_default_binds_no_model_that_calls_its_layers_otherwise",
        wrong="a default that matches nothing is an error",
    ),
    Mutation(
        file=IA3,
        before="self.base((l * x).to(x.dtype))",
        after="self.base((l.detach() * x).to(x.dtype))",
        test="tests/methods/test_ia3.py::test_outputs_and_gradients_are_peft_s[llama-dtype0]",
        wrong="a feed-forward layer's vector does not train",
    ),
    Mutation(
        file=BITFIT,
        before="if owner in set().union(*named.values())",
        after="if set().union(*named.values())",
        test="tests/methods/test_bitfit.py::test_the_paper_s_subset_is_the_query_s_and_the_middle_of_the_mlp_s_biases",
        wrong="a choice of biases trains all",
    ),
    Mutation(
        file=BITFIT,
        before='"bias" in tensor.rpartition(".")[2]',
        after='"bias" in tensor.rpartition(".")[2] and "LayerNorm" not in tensor',
        test="tests/methods/test_bitfit.py::"
        "test_three_steps_equal_those_of_the_plain_model_with_its_biases_alone_bit_for_bit[tiny_bert]",
        wrong="the biases of LayerNorm stay frozen",
    ),
    Mutation(
        file=BITFIT,
        before="        if not owners:\n",
        after="        if owners is None:\n",
        test="tests/methods/test_bitfit.py::"
        "test_a_model_without_biases_is_refused_in_a_sentence_that_says_so_and_stays",
        wrong="BitFit of a Llama trains nothing without a word",
    ),
    Mutation(
        file=REGISTER,
        before="_train(copies.own(root).values(), False)",
        after="pass",
        test="tests/methods/test_bitfit.py::test_merging_has_nothing_to_fold_and_keeps_the_trained_biases",
        wrong="what stays after merge_and_remove trains on",
    ),
    Mutation(
        file="lora_lab/adapters/folding.py",
        before="base.weight_dtype if base.bias is None else base.bias.dtype",
        after="torch.float32",
        test="tests/methods/test_ia3.py::test_requantizing_scales_the_bias_too_and_leaves_it_frozen_in_its_dtype",
        wrong="a requantized bfloat16 layer has a float32 bias",
    ),
    Mutation(
        file="lora_lab/adapters/adapter.py",
        before="self._bias_as_stored(self._folded()[1]) if",
        after="self.folded()[1] if",
        test="tests/methods/test_ia3.py::"
        "test_weight_and_bias_are_those_that_the_layer_applies_in_the_dtype_of_the_base",
        wrong="layer.bias is float32 beside a bfloat16 weight",
    ),
)
