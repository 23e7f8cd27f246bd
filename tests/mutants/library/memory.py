"""Mutations of what counts memory, and of what refuses to."""

from tests.mutants.library.mutation import Mutation

ESTIMATE, FIT, GPUS = (f"lora_lab/memory/{name}.py" for name in ("closed_form", "budget", "gpus"))

TESTS = (
    "tests/memory/test_estimate.py",
    "tests/memory/test_fields.py",
    "tests/memory/test_fit.py",
    "tests/memory/test_gpus.py",
    "tests/memory/test_shapes.py",
)

MUTATIONS = (
    Mutation(
        file=ESTIMATE,
        before="kept = below = layers * decoder.stream + decoder.masks",
        after="kept = below = decoder.masks",
        test="tests/memory/test_estimate.py::test_the_peak_is_that_of_the_simulated_step_within_three_percent_and_the_rest_to_the_byte",
        wrong="checkpointing keeps nothing",
    ),
    Mutation(
        file=ESTIMATE,
        before="peak_bytes=peak.total,",
        after="peak_bytes=sum(moment.total for moment in timeline),",
        test="tests/memory/test_estimate.py::test_the_peak_is_the_largest_phase_and_grows_with_batch_sequence_and_rank",
        wrong="the peak is the sum of all moments",
    ),
    Mutation(
        file=ESTIMATE,
        before="return 8 * values + narrow + capped + copy, backward + copy, outputs",
        after="return copy, copy, outputs",
        test="tests/memory/test_estimate.py::test_the_loss_needs_12_bytes_per_token_and_word_of_the_vocabulary_or_of_a_chunk",
        wrong="the hump of logits and loss is dropped",
    ),
    Mutation(
        file="lora_lab/memory/optimizers.py",
        before='"adamw": lambda w: 2 * width * w.numel + STEP,',
        after='"adamw": lambda w: width * w.numel + STEP,',
        test="tests/memory/test_estimate.py::test_a_trained_parameter_costs_16_bytes_in_mixed_precision_and_8_in_pure_bf16",
        wrong="Adam keeps one moment, 12 bytes instead of 16 a parameter",
    ),
    Mutation(
        file="lora_lab/memory/reach.py",
        before="shape.count * (shape.d_in + shape.d_out)",
        after="shape.count * (shape.d_in + shape.d_in)",
        test="tests/memory/test_shapes.py::test_lora_parameters_are_those_of_peft_with_grouped_query_attention",
        wrong="adapters are counted with d_in twice",
    ),
    Mutation(
        file=FIT,
        before="if counted.peak_bytes <= budget:",
        after="if counted.peak_bytes >= budget:",
        test="tests/memory/test_fit.py::test_an_8b_model_on_a_t4_needs_four_bits",
        wrong="the cheapest method is one that does not fit",
    ),
    Mutation(
        file=FIT,
        before="            FutureWarning,",
        after="            UserWarning,",
        test="tests/memory/test_fit.py::"
        "test_the_old_order_of_cheapest_method_is_understood_with_a_warning_that_names_the_new_one",
        wrong="the old order is no longer announced to end",
    ),
    Mutation(
        file=GPUS,
        before="return round(self.usable_gib * GIB)",
        after="return round(self.usable_gib * GB)",
        test="tests/memory/test_gpus.py::"
        "test_every_gpu_has_figures_with_a_source_and_less_usable_than_advertised_memory[t4]",
        wrong="GB for GiB",
    ),
    Mutation(
        file=GPUS,
        before="3350, 989.0,",
        after="3350, 1979.0,",
        test="tests/memory/test_gpus.py::test_the_speed_is_the_dense_one_that_its_cores_and_their_clock_give[h100]",
        wrong="the H100's speed is that for sparse matrices",
    ),
    Mutation(
        file=GPUS,
        before="if low <= gpu.usable_bytes",
        after="if low >= gpu.usable_bytes",
        test="tests/memory/test_gpus.py::"
        "test_what_fits_is_the_tail_of_the_catalogue_by_usable_memory_and_each_says_how_surely",
        wrong="the GPUs that are too small are said to fit",
    ),
    Mutation(
        file="lora_lab/memory/fields.py",
        before="not least <= value <= most",
        after="not value <= most",
        test="tests/memory/test_fields.py::test_a_count_that_is_none_is_named[-3-vocab_size]",
        wrong="negative sizes are estimated",
    ),
    Mutation(
        file="lora_lab/memory/sizes.py",
        before="if self.heads % self.kv_heads:",
        after="if False:",
        test="tests/memory/test_fields.py::"
        "test_what_makes_no_model_or_none_that_is_counted_is_named[changed1-num_key_value_heads=3]",
        wrong="three key heads share four query heads",
    ),
    Mutation(
        file="lora_lab/memory/activations.py",
        before='("mlp", "c_proj"): "down_proj",',
        after='("mlp", "c_proj"): "o_proj",',
        test="tests/memory/test_estimate.py::"
        "test_adapters_and_four_bits_on_gpt2_are_counted_as_the_simulated_step_counts_them[768-lora-setup2]",
        wrong="GPT-2's two layers of one name are taken for one",
    ),
    Mutation(
        file=FIT,
        before="return positions(config)",
        after="return config.max_position_embeddings",
        test="tests/memory/test_fit.py::test_a_stretched_rope_lets_sequences_be_as_long_as_it_reaches",
        wrong="sequences end where positions did before they were stretched",
    ),
    Mutation(
        file="lora_lab/memory/step.py",
        before='warnings.filterwarnings("ignore", "\'all-linear\' passed over", UserWarning)',
        after="pass",
        test="tests/memory/test_estimate.py::"
        "test_what_is_not_reached_of_a_mixture_is_said_in_a_note_of_the_estimate_and_not_by_a_warning",
        wrong="a simulated step warns as if somebody's model were trained",
    ),
)
