"""Wrong kernels, and wrong choices between them and the readable path."""

import importlib.util

from tests.mutants.library.mutation import Mutation

TESTS = ("tests/quant/test_kernels.py", "tests/quant/test_kernels_cuda.py", "tests/quant/test_kernel_products.py")
HERE = "tests/quant/test_kernels.py::"
PRODUCTS = "tests/quant/test_kernel_products.py::"

MUTATIONS: tuple[Mutation, ...] = (
    Mutation(
        file="lora_lab/quant/kernels/cuda.py",
        before="tl.gather(book, code >> 4, 0), tl.gather(book, code & 15, 0)",
        after="tl.gather(book, code & 15, 0), tl.gather(book, code >> 4, 0)",
        test=PRODUCTS
        + "test_rows_of_any_number_of_blocks_of_any_size_are_multiplied[Triton-16-shape0-torch.float32-False]",
        wrong="a product takes the halves of a byte the wrong way round",
    ),
    Mutation(
        file="lora_lab/quant/kernels/cuda.py",
        before="high, low = high.to(x.dtype.element_ty).to(tl.float32), low.to(x.dtype.element_ty).to(tl.float32)",
        after="pass",
        test=PRODUCTS
        + "test_rows_of_any_number_of_blocks_of_any_size_are_multiplied[Triton-16-shape0-torch.bfloat16-False]",
        wrong="a product's weight is not rounded to the dtype of its input",
    ),
    Mutation(
        file="lora_lab/quant/kernels/cuda.py",
        before="    x += token * length\n",
        after="",
        test=PRODUCTS + "test_each_token_of_an_input_in_strides_meets_the_weight[Triton]",
        wrong="every token of a product is the first",
    ),
    Mutation(
        file="lora_lab/quant/kernels/cuda.py",
        before="    y += (split * tl.num_programs(2) + token) * width",
        after="    y += token * width",
        test=PRODUCTS
        + "test_rows_of_any_number_of_blocks_of_any_size_are_multiplied[Triton-16-shape0-torch.float32-False]",
        wrong="the parts of a product's sum are written over each other",
    ),
    Mutation(
        file="lora_lab/quant/kernels/cuda.py",
        before="for start in range(split * STEP, length, tl.num_programs(1) * STEP):",
        after="for start in range(split * STEP, length, STEP):",
        test=PRODUCTS
        + "test_rows_of_any_number_of_blocks_of_any_size_are_multiplied[Triton-16-shape0-torch.float32-False]",
        wrong="parts of a product's sum are added up twice",
    ),
    Mutation(
        file="lora_lab/quant/kernels/cuda.py",
        before="_absmax(row * (d_in // SIZE) + block, inside,",
        after="_absmax(block, inside,",
        test=PRODUCTS
        + "test_rows_of_any_number_of_blocks_of_any_size_are_multiplied[Triton-16-shape0-torch.float32-False]",
        wrong="every row of a product has the constants of the first",
    ),
    Mutation(
        file="lora_lab/quant/kernels/cuda.py",
        before="    largest = tl.where(inside, largest, 0)[:, :, None]",
        after="    largest = largest[:, :, None]",
        test=PRODUCTS + "test_what_lies_outside_of_a_weight_is_no_part_of_a_sum[Triton-True]",
        wrong="what lies outside of a weight has the constants' mean, which may be infinite",
    ),
    Mutation(
        file="lora_lab/quant/kernels/trial.py",
        before='device.type == "cuda" and torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()',
        after="False",
        test=PRODUCTS + "test_a_first_call_while_a_graph_is_captured_says_what_to_do_and_the_next_is_free[Triton]",
        wrong="kernels are tried while a graph is captured, and given up for good",
    ),
    Mutation(
        file="lora_lab/quant/kernels/cuda.py",
        before="tl.join(byte >> 4, byte & 15)",
        after="tl.join(byte & 15, byte >> 4)",
        test=HERE + "test_restoring_by_a_kernel_is_the_readable_path_bit_for_bit[Triton-torch.float16-plain]",
        wrong="a kernel restores the low nibble first",
    ),
    Mutation(
        file="lora_lab/quant/kernels/cuda.py",
        before="tl.load(scale + block // GROUP, inside, 0) + tl.load(mean)",
        after="tl.load(scale + block // GROUP, inside, 0)",
        test=HERE + "test_restoring_by_a_kernel_is_the_readable_path_bit_for_bit[Triton-torch.float16-dynamic8]",
        wrong="a kernel does not add the mean of the constants again",
    ),
    Mutation(
        file="lora_lab/quant/kernels/cuda.py",
        before="code += (scaled > tl.gather(",
        after="code += (scaled >= tl.gather(",
        test=HERE + "test_a_value_on_a_midpoint_takes_the_lower_level_in_a_kernel_too[Triton-NF4]",
        wrong="a value on a midpoint takes the upper level in a kernel",
    ),
    Mutation(
        file="lora_lab/quant/kernels/cuda.py",
        before='    if tl.max(inverse, 0) == float("inf"):',
        after="    if tl.max(inverse, 0) < 0:",
        test=HERE + "test_zeros_and_extreme_magnitudes_are_those_of_the_readable_path[Triton-torch.float32]",
        wrong="a kernel multiplies by a reciprocal that has overflowed",
    ),
    Mutation(
        file="lora_lab/quant/kernels/cuda.py",
        before="    code = tl.where(inside, _nearest(scaled, midpoints), 0)",
        after="    code = _nearest(scaled, midpoints)",
        test=HERE + "test_quantizing_by_a_kernel_is_the_readable_path_bit_for_bit[Triton-torch.float16]",
        wrong="a kernel leaves a code in the half of a byte that no value has",
    ),
    Mutation(
        file="lora_lab/quant/blockwise.py",
        before="        _refuse_unless_finite(made[1])\n",
        after="",
        test=HERE + "test_what_is_not_finite_is_refused_in_the_words_of_the_readable_path[Triton-torch.float16-nan0]",
        wrong="a kernel quantizes NaN in silence",
    ),
    Mutation(
        file="lora_lab/quant/kernels/dispatch.py",
        before="    if len(codebook) > 16 or codebook.asymmetric:",
        after="    if len(codebook) > 16:",
        test=HERE + "test_codebooks_that_no_kernel_serves_are_left_to_the_readable_path[Triton-INT4_ASYMMETRIC]",
        wrong="a kernel without offsets quantizes for an asymmetric codebook",
    ),
    Mutation(
        file="lora_lab/quant/kernels/trial.py",
        before="    values[:64] *= torch.finfo(dtype).max / 4",
        after="    values[:64] *= 4",
        test=HERE + "test_a_compiler_that_flushes_the_smallest_numbers_to_zero_is_refused[Triton]",
        wrong="kernels are tried on no magnitude whose reciprocal a compiler may lose",
    ),
    Mutation(
        file="lora_lab/quant/kernels/cuda.py",
        before="INTERPRETED = not isinstance(_restore, triton.JITFunction)",
        after="INTERPRETED = False",
        test="tests/quant/test_kernels_cuda.py::test_whether_kernels_are_interpreted_is_what_triton_says",
        wrong="Python does a GPU's work where TRITON_INTERPRET=1 is set",
    ),
    Mutation(
        file="lora_lab/quant/kernels/trial.py",
        before="    for constants in _of_either_kind(absmax):\n        kernels.restore(",
        after="    for constants in (absmax,):\n        kernels.restore(",
        test=HERE + "test_a_kernel_is_tried_with_constants_of_either_kind_and_for_all_that_it_makes"
        "[Triton-restore-_times_when_double]",
        wrong="kernels are not tried with doubly quantized constants, which a layer has unless told otherwise",
    ),
    Mutation(
        file="lora_lab/quant/kernels/trial.py",
        before="absmax.new_full((1,), 0.7)",
        after="absmax.new_full((1,), 0.5)",
        test=HERE + "test_a_kernel_is_tried_with_constants_of_either_kind_and_for_all_that_it_makes"
        "[Triton-restore-_fused]",
        wrong="kernels are tried with no constant that a fused product and sum would change",
    ),
    Mutation(
        file="lora_lab/quant/kernels/trial.py",
        before=" and torch.equal(largest, absmax)):",
        after="):",
        test=HERE + "test_a_kernel_is_tried_with_constants_of_either_kind_and_for_all_that_it_makes"
        "[Triton-quantize-_larger_absmax]",
        wrong="the constants that a kernel makes are not looked at",
    ),
    Mutation(
        file="lora_lab/quant/kernels/trial.py",
        before="            elif trial(kernels, device, dtype):",
        after="            elif trial(kernels, device, dtype) or True:",
        test=HERE + "test_a_kernel_that_fails_or_errs_costs_one_warning_and_no_number[Triton-_wrong-"
        "float32 are not those of the formula]",
        wrong="a kernel whose numbers are wrong is used all the same",
    ),
)

if importlib.util.find_spec("triton") is None:  # then the tests above are skipped
    MUTATIONS = (
        Mutation(
            file="lora_lab/quant/kernels/cuda.py",
            before="scale + block // GROUP, inside",
            after="scale + block // 65536, inside",
            test=HERE + "test_each_group_of_256_quantized_constants_has_its_scale[Triton]",
            wrong="all groups of constants have the first one's scale",
        ),
    )
