"""Wrong quantizers, 4-bit layers and their states."""

from tests.mutants.library.mutation import Mutation

TESTS = (
    "tests/quant/test_blockwise.py",
    "tests/quant/test_linear4bit.py",
    "tests/quant/test_state.py",
    "tests/quant/test_quantize_model.py",
    "tests/quant/test_heads.py",
    "tests/quant/test_bnb_checkpoints.py",
)

MUTATIONS = (
    Mutation(
        file="lora_lab/quant/lookup.py",
        before="codes += (scaled.flatten() > torch.index_select(grid.border, 0, cell))",
        after="codes += (scaled.flatten() >= torch.index_select(grid.border, 0, cell))",
        test="tests/quant/test_blockwise.py::test_rounding_by_look_up_is_rounding_by_bisection_bit_for_bit[NF4]",
        wrong="a value on a midpoint takes the upper level",
    ),
    Mutation(
        file="lora_lab/quant/blockwise.py",
        before="torch.add(pairs[:, 1], pairs[:, 0], alpha=16)",
        after="torch.add(pairs[:, 0], pairs[:, 1], alpha=16)",
        test="tests/quant/test_blockwise.py::test_first_code_sits_in_the_high_nibble",
        wrong="the first code in the low nibble",
    ),
    Mutation(
        file="lora_lab/quant/double.py",
        before="BLOCK_SIZE, out).add_(mean)",
        after="BLOCK_SIZE, out)",
        test="tests/quant/test_blockwise.py::test_constants_of_the_smallest_size_are_restored[absmax0-dynamic8]",
        wrong="the mean of the constants is not added again",
    ),
    Mutation(
        file="lora_lab/quant/blockwise.py",
        before="        if not beyond.any():\n",
        after="        if beyond.dtype == torch.bool:\n",
        test="tests/quant/test_blockwise.py::test_what_reaches_the_end_of_a_dtype_is_restored_finite_after_double_quantization"
        "[1-8-dynamic8-NF4-dtype0]",
        wrong="rounded constants reach beyond float16",
    ),
    Mutation(
        file="lora_lab/quant/linear4bit.py",
        before="F.linear(x, weight, bias)",
        after="F.linear(x, weight) + (0 if bias is None else bias)",
        test="tests/quant/test_linear4bit.py::test_a_product_is_rounded_once_its_bias_included[plain-dtype0-1048576]",
        wrong="the bias is added after rounding",
    ),
    Mutation(
        file="lora_lab/quant/linear4bit.py",
        before="F.linear(x, slab, None if bias is None else bias[part])",
        after="F.linear(x, slab) + (0 if bias is None else bias[part])",
        test="tests/quant/test_linear4bit.py::test_a_product_is_rounded_once_its_bias_included[plain-dtype0-2048]",
        wrong="in slabs the bias is added after rounding",
    ),
    Mutation(
        file="lora_lab/quant/linear4bit.py",
        before="layer.in_features % layer.block_size == 0",
        after="layer.in_features % 2 == 0",
        test="tests/quant/test_linear4bit.py::test_a_large_weight_whose_rows_are_no_whole_blocks_is_not_cut",
        wrong="rows that are no whole blocks are cut into slabs",
    ),
    Mutation(
        file="lora_lab/quant/heads.py",
        before="_output_layer(part) for _, part in named_modules(model))",
        after="_output_layer(part) for part in [model])",
        test="tests/quant/test_heads.py::test_a_language_model_within_a_module_keeps_its_head_whatever_it_is_called",
        wrong="the head of a model within a module is not found",
    ),
    Mutation(
        file="lora_lab/quant/linear4bit.py",
        before="_product(grad, None, ctx.layer, not ctx.transposed)",
        after="_product(grad.detach(), None, ctx.layer, not ctx.transposed)",
        test="tests/quant/test_linear4bit.py::test_second_and_third_derivatives_are_those_of_the_dense_layer[1048576]",
        wrong="the gradient has no gradient",
    ),
    Mutation(
        file="lora_lab/quant/linear4bit.py",
        before="grad.reshape(-1, grad.shape[-1]).sum(dim=0, dtype=ctx.bias_dtype)",
        after="grad.reshape(-1, grad.shape[-1]).mean(dim=0, dtype=ctx.bias_dtype)",
        test="tests/quant/test_linear4bit.py::test_a_trainable_bias_gets_its_gradient_also_where_the_input_needs_none"
        "[bias_dtype1-1048576]",
        wrong="the gradient of the bias is a mean",
    ),
    Mutation(
        file="lora_lab/quant/linear4bit.py",
        before="absmax[:, start // layer.block_size : part.stop // layer.block_size]",
        after="absmax[:, : (part.stop - start) // layer.block_size]",
        test="tests/quant/test_linear4bit.py::test_a_slab_is_a_part_of_the_weight_bit_for_bit_and_no_larger_than_it_says"
        "[64-dtype0]",
        wrong="each slab of columns takes the constants of the first",
    ),
    Mutation(
        file="lora_lab/quant/linear4bit.py",
        before="if of_x and _in_use(ctx.layer) != ctx.used:",
        after="if of_x and not ctx.used:",
        test="tests/quant/test_linear4bit.py::test_weights_that_change_between_forward_and_backward_are_noticed",
        wrong="a weight may change between forward and backward",
    ),
    Mutation(
        file="lora_lab/quant/state.py",
        before="if said is not None and said != wanted:",
        after="if said is None and said != wanted:",
        test="tests/quant/test_state.py::test_a_state_knows_its_format_however_it_is_stored[levels-True-safetensors]",
        wrong="a state of another format loads",
    ),
    Mutation(
        file="lora_lab/quant/heads.py",
        before="if child not in bodies and output not in inside:",
        after="if child not in bodies:",
        test="tests/quant/test_heads.py::test_heads_are_found_in_every_kind_of_model_and_nothing_else_is[BertForMaskedLM]",
        wrong="what transforms for the output layer is taken for a head",
    ),
    Mutation(
        file="lora_lab/quant/swap.py",
        before='    if kinds or "forward" in vars(module):',
        after='    if "forward" in vars(module):',
        test="tests/quant/test_quantize_model.py::test_hooks_are_not_lost_on_the_way_back_or_by_a_merge_either",
        wrong="hooks are dropped",
    ),
    Mutation(
        file="lora_lab/quant/linear4bit.py",
        before="in {self.codebook.label}, blocks",
        after="in {self.codebook.name}, blocks",
        test="tests/quant/test_state.py::test_levels_of_one_name_are_told_apart[levels-dict]",
        wrong="a state names its levels and does not hold them",
    ),
    Mutation(
        file="lora_lab/quant/linear4bit.py",
        before="(weakref.ref(t.untyped_storage()), t.storage_offset(),",
        after="(None, t.storage_offset(),",
        test="tests/quant/test_linear4bit.py::test_weights_that_are_replaced_between_forward_and_backward_are_noticed"
        "[another parameter]",
        wrong="a weight may be replaced between forward and backward",
    ),
    Mutation(
        file="lora_lab/quant/stream.py",
        before='        raise ValueError(f"{stored} in {checkpoint.folder} {reason}")',
        after="        reason += str(checkpoint.folder)",
        test="tests/quant/test_quantize_model.py::test_a_dense_tensor_that_the_dtype_does_not_hold_is_named",
        wrong="the cast may make infinities",
    ),
    Mutation(
        file="lora_lab/quant/blockwise.py",
        before="beyond &= ~q._beyond(q.dtype)",
        after="beyond |= q._beyond(q.dtype)",
        test="tests/quant/test_blockwise.py::test_eight_bits_to_restore_go_with_double_quantization[torch.float8_e4m3fn]",
        wrong="what a narrow dtype does not hold is shrunk into it",
    ),
    Mutation(
        file="lora_lab/quant/heads.py",
        before="return None if layer is None else unwrap(layer)",
        after="return layer",
        test="tests/quant/test_heads.py::test_heads_are_found_behind_wrappers[LlamaForCausalLM]",
        wrong="a compiled head is no head",
    ),
)
