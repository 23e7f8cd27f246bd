"""Wrong kernels for a CPU, and wrong work around them; here Numba leaves its functions to the interpreter."""

import importlib.util

from tests.mutants.library.mutation import Mutation

TESTS = ("tests/quant/test_kernels.py", "tests/quant/test_kernels_cpu.py", "tests/quant/test_kernel_products.py")
HERE = "tests/quant/test_kernels_cpu.py::"
PRODUCTS = "tests/quant/test_kernel_products.py::"
BOTH = "tests/quant/test_kernels.py::"

MUTATIONS: tuple[Mutation, ...] = (
    Mutation(
        file="lora_lab/quant/kernels/loops.py",
        before="* scale[block // GROUP] + mean[0] if",
        after="* scale[block // GROUP] if",
        test=BOTH + "test_restoring_by_a_kernel_is_the_readable_path_bit_for_bit[Numba-torch.float32-dynamic8]",
        wrong="a kernel does not add the mean of the constants again",
    ),
    Mutation(
        file="lora_lab/quant/kernels/loops.py",
        before="np.int32(values[i] > middle[m])",
        after="np.int32(values[i] >= middle[m])",
        test=BOTH + "test_a_value_on_a_midpoint_takes_the_lower_level_in_a_kernel_too[Numba-NF4]",
        wrong="a value on a midpoint takes the upper level in a kernel",
    ),
    Mutation(
        file="lora_lab/quant/kernels/loops.py",
        before="        codes[len(part) :] = 0\n",
        after="",
        test=BOTH + "test_quantizing_by_a_kernel_is_the_readable_path_bit_for_bit[Numba-torch.float32]",
        wrong="a kernel leaves a code in the half of a byte that no value has",
    ),
    Mutation(
        file="lora_lab/quant/kernels/loops.py",
        before="    if inverse < np.inf:",
        after="    if absmax > 0:",
        test=BOTH + "test_zeros_and_extreme_magnitudes_are_those_of_the_readable_path[Numba-torch.float32]",
        wrong="a kernel multiplies by a reciprocal that has overflowed",
    ),
    Mutation(
        file="lora_lab/quant/kernels/loops.py",
        before="np.int32(0x7FFF) + ((bits >> np.int32(16)) & np.int32(1))) >> np.int32(16)",
        after="np.int32(0x8000)) >> np.int32(16)",
        test=HERE + "test_a_tie_is_rounded_to_the_even_number[torch.bfloat16]",
        wrong="ties in bf16 are rounded up",
    ),
    Mutation(
        file="lora_lab/quant/kernels/loops.py",
        before="(row * blocks + start, 0)",
        after="(row * blocks, 0)",
        test=HERE + "test_no_bit_depends_on_the_number_of_threads",
        wrong="every thread multiplies with the first columns",
    ),
    Mutation(
        file="lora_lab/quant/kernels/loops.py",
        before="    for row in range(len(out)):\n        block = first + row * stride\n",
        after="    for row in range(len(out)):\n        block = first\n",
        test=HERE + "test_slabs_are_restored_bit_for_bit[1-torch.bfloat16-False]",
        wrong="in 16 bits each row of a slab is the first",
    ),
    Mutation(
        file="lora_lab/quant/kernels/cpu.py",
        before="max(1, min(torch.get_num_threads(), values // VALUES_A_THREAD, count))",
        after="max(1, min(2, values // VALUES_A_THREAD, count))",
        test=HERE + "test_kernels_use_as_many_threads_as_torch_and_none_afterwards",
        wrong="kernels take two threads whatever torch takes",
    ),
    Mutation(
        file="lora_lab/quant/products.py",
        before="return (y if bias is None else y + bias).to(dtype)",
        after="return y.to(dtype) if bias is None else y.to(dtype) + bias",
        test=PRODUCTS + "test_one_rounding_per_product_in_16_bits_too[Numba]",
        wrong="after a product without a weight the bias is added to what was rounded",
    ),
    Mutation(
        file="lora_lab/quant/kernels/cpu.py",
        before="            loop(0, count)  # all of it",
        after="            parts = []  # all of it",
        test=HERE + "test_where_no_thread_can_be_had_one_does_it_all",
        wrong="where no thread can be had, nothing is done",
    ),
    Mutation(
        file="lora_lab/quant/kernels/loops.py",
        before="    y[:, columns] = 0\n",
        after="",
        test=PRODUCTS + "test_a_product_takes_nothing_from_what_lay_in_its_memory[Numba]",
        wrong="a transposed product is added to what lay in memory",
    ),
    Mutation(
        file="lora_lab/quant/kernels/loops.py",
        before="    if near > 0x477FE000:  # 65504, the largest",
        after="    if near > 0x47800000:",
        test=HERE + "test_every_float16_is_the_one_that_torch_rounds_to",
        wrong="the smallest numbers past float16's end are rounded beyond it and kept",
    ),
    Mutation(
        file="lora_lab/quant/eager.py",
        before="_TorchDispatchModeKey.PROXY  #",
        after="_TorchDispatchModeKey.FAKE  #",
        test=HERE + "test_a_tracer_sees_the_operators[2-whole]",
        wrong="a tracer writes down a graph without the product",
    ),
    Mutation(
        file="lora_lab/quant/kernels/trial.py",
        before="for made, right in zip((y, back), exact))",
        after="for made, right in zip((y,), exact))",
        test=HERE + "test_a_product_that_errs_is_refused_while_the_others_serve[transposed]",
        wrong="the product of the backward pass is not tried",
    ),
    Mutation(
        file="lora_lab/quant/kernels/dispatch.py",
        before="    if on and (trial.missing or trial.problems):",
        after="    if on and trial.problems:",
        test=BOTH + "test_a_package_that_is_installed_meanwhile_serves_after_use_kernels_true[Numba]",
        wrong="a package that has been installed meanwhile is not tried",
    ),
    Mutation(
        file="lora_lab/quant/kernels/trial.py",
        before='"products" if trial is multiplies else "kernels"',
        after='"kernels"',
        test=HERE + "test_a_product_that_errs_is_refused_while_the_others_serve[forward]",
        wrong="what is refused is called by the name of what serves",
    ),
    Mutation(
        file="lora_lab/quant/kernels/trial.py",
        before="    if said not in problems:",
        after="    if not problems:",
        test=BOTH + "test_each_thing_that_is_wrong_is_said_once_and_named[Numba]",
        wrong="a second problem is not said",
    ),
    Mutation(
        file="lora_lab/quant/kernels/dispatch.py",
        before='_OFF = ("on", "1", "true", "yes"), ("off", "0", "false", "no")',
        after='_OFF = ("on", "1", "true", "yes"), ("off", "false", "no")',
        test=HERE + "test_the_setting_is_understood_as_people_write_it_and_one_that_is_none_is_named[ 0]",
        wrong="LORA_LAB_KERNELS=0 leaves kernels on",
    ),
    Mutation(
        file="lora_lab/quant/kernels/dispatch.py",
        before="x.shape[1] != shape[0 if transposed else 1] or ",
        after="",
        test=PRODUCTS + "test_an_input_that_does_not_fit_is_no_matter_for_a_kernel[Numba-too narrow]",
        wrong="a kernel multiplies an input that does not fit",
    ),
    Mutation(
        file="lora_lab/quant/kernels/dispatch.py",
        before=" or shape[1] % stored.block_size:",
        after=":",
        test=PRODUCTS + "test_an_input_that_does_not_fit_is_no_matter_for_a_kernel[Numba-broken rows]",
        wrong="a kernel takes rows of a weight that are no whole blocks",
    ),
    Mutation(
        file="lora_lab/quant/kernels/loops.py",
        before="    for first in range(0, g.shape[1], 64):",
        after="    for first in range(0, g.shape[1], 65536):",
        test=PRODUCTS + "test_a_sum_over_many_rows_is_rounded_in_groups[Numba]",
        wrong="all rows are added up in one go",
    ),
    Mutation(
        file="lora_lab/quant/kernels/cpu.py",
        before="VALUES_A_THREAD = 2**19",
        after="VALUES_A_THREAD = 2**9",
        test=HERE + "test_a_small_layer_starts_no_thread",
        wrong="a thread is started for a few values",
    ),
    Mutation(
        file="lora_lab/quant/kernels/dispatch.py",
        before="        and part.is_contiguous()\n",
        after="",
        test=HERE + "test_constants_that_do_not_lie_side_by_side_are_left_to_the_readable_path",
        wrong="a kernel reads constants between those that it was handed",
    ),
    Mutation(
        file="lora_lab/quant/kernels/cpu.py",
        before="    return _array(F.pad(codebook.values, (0, 256 - len(codebook))))",
        after="    return _array(codebook.values)",
        test=HERE + "test_a_code_that_is_no_level_reads_no_memory_behind_the_table",
        wrong="a damaged code reads behind the table",
    ),
    Mutation(
        file="lora_lab/quant/eager.py",
        before="        and not torch._C._is_tracing()  # by torch.jit.trace\n",
        after="",
        test=HERE + "test_jit_s_tracer_fails_in_the_words_of_the_readable_path[20]",
        wrong="a kernel is handed the numbers of torch.jit.trace",
    ),
    Mutation(
        file="lora_lab/quant/eager.py",
        before=" and not tensor.is_neg()",
        after="",
        test=BOTH + "test_a_negated_view_is_taken_for_its_values[Numba]",
        wrong="a kernel reads a negated view as it lies in memory",
    ),
    Mutation(
        file="lora_lab/quant/eager.py",
        before="        and tensor.layout is torch.strided\n",
        after="",
        test=HERE + "test_a_layout_of_its_own_is_refused_in_the_words_of_the_readable_path[2]",
        wrong="a kernel is handed a layout that it cannot read",
    ),
    Mutation(
        file="lora_lab/quant/eager.py",
        before="        not torch.compiler.is_compiling()\n        and not torch._C",
        after="        not torch._C",
        test=HERE + "test_a_compiler_sees_the_formula[2]",
        wrong="kernels serve in a graph that a compiler makes",
    ),
    Mutation(
        file="lora_lab/quant/slabs.py",
        before=" and eager.runs_on(x)",
        after="",
        test=HERE + "test_a_tracer_sees_the_operators[20-slabs]",
        wrong="a tracer writes down slab after slab",
    ),
    Mutation(
        file="lora_lab/quant/kernels/dispatch.py",
        before="if said := [*named, *trial.problems]:",
        after="if said := named:",
        test=BOTH + "test_a_refusal_keeps_its_reason_and_can_be_tried_again[Numba]",
        wrong="the doctor says that a compiler is missing where it failed",
    ),
    Mutation(
        file="lora_lab/quant/kernels/dispatch.py",
        before="        and part.numel() == count\n",
        after="",
        test=HERE + "test_a_layer_whose_constants_were_replaced_by_others_is_no_matter_for_a_kernel[2]",
        wrong="a kernel reads past the end of constants that are too few",
    ),
)

if importlib.util.find_spec("numba") is None:  # then the tests above are skipped
    MUTATIONS = (
        Mutation(
            file="lora_lab/quant/kernels/loops.py",
            before="    return sign | half\n",
            after="    return half | (sign if half else 0)\n",
            test=HERE
            + "test_sixteen_bits_are_rounded_as_torch_does_also_ties_subnormals_overflow_and_nan[torch.float16]",
            wrong="what underflows in float16 loses its sign",
        ),
        Mutation(
            file="lora_lab/quant/kernels/loops.py",
            before="* scale[block // GROUP]",
            after="* scale[block // 65536]",
            test=BOTH + "test_each_group_of_256_quantized_constants_has_its_scale[Numba]",
            wrong="all groups of constants have the first one's scale",
        ),
        Mutation(
            file="lora_lab/quant/kernels/dispatch.py",
            before=" or not out.is_contiguous():\n        return False\n    if not _fits(",
            after=":\n        return False\n    if not _fits(",
            test=HERE + "test_no_part_of_a_weight_is_restored_whose_parts_do_not_belong_together_or_to_what_is_strided",
            wrong="a part of a weight is restored into memory that is not its own",
        ),
        Mutation(
            file="lora_lab/quant/kernels/trial.py",
            before="        timer.cancel()\n",
            after="        pass\n",
            test=HERE + "test_a_first_call_that_is_quick_or_told_to_be_quiet_says_nothing[False]",
            wrong="a first call says what it does after it has done it",
        ),
        Mutation(
            file="lora_lab/quant/kernels/trial.py",
            before="    except ModuleNotFoundError:\n        missing",
            after="    except ImportError:\n        missing",
            test=BOTH + "test_a_package_that_is_there_but_cannot_be_imported_says_why[Numba]",
            wrong="a package that refuses another is called missing",
        ),
        Mutation(
            file="lora_lab/quant/kernels/dispatch.py",
            before="        _switch(self._before)",
            after="        _switch(not self._wanted)",
            test=BOTH + "test_kernels_can_be_switched_off_for_a_while[Numba]",
            wrong="after a while without kernels they are on, whatever they were before",
        ),
        Mutation(
            file="lora_lab/quant/eager.py",
            before="        and not tensor._is_zerotensor()\n",
            after="",
            test=HERE + "test_a_zero_without_memory_is_left_to_the_readable_path",
            wrong="a kernel reads a zero that has no memory",
        ),
    )
