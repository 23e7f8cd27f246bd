"""Mutations of what counts memory, and of what refuses to."""

from tests.mutants.library.mutation import Mutation

ESTIMATE, FIT, GPUS, CARDS = (f"lora_lab/memory/{name}.py" for name in ("closed_form", "budget", "gpus", "cards"))

TESTS = (
    "tests/memory/test_early_updates.py",
    "tests/memory/test_estimate.py",
    "tests/memory/test_fields.py",
    "tests/memory/test_fit.py",
    "tests/memory/test_gpus.py",
    "tests/memory/test_inference.py",
    "tests/memory/test_loading.py",
    "tests/memory/test_parallel.py",
    "tests/memory/test_preference.py",
    "tests/memory/test_shapes.py",
    "tests/commands/test_memory_cli.py",
)

MUTATIONS = (
    Mutation(
        file="lora_lab/memory/simulation.py",
        before="if func is aten._softmax_backward_data.default else None",
        after="if False else None",
        test="tests/memory/test_simulate.py::"
        "test_eager_attention_on_cuda_takes_one_tensor_of_the_scores_more_than_on_a_cpu[mixed-4]",
        wrong="a simulated step forgets what CUDA's softmax makes",
    ),
    Mutation(
        file="lora_lab/memory/passing.py",
        before="max(self.mlp_backward(), self.mlp_again())",
        after="self.mlp_backward()",
        test="tests/memory/test_stacks.py::test_pefts_own_layers_keep_what_their_stack_says[sdpa-True-2-lora-peft]",
        wrong="what PEFT's dense layers make when they are repeated is forgotten",
    ),
    Mutation(
        file=ESTIMATE,
        before="kept = below = streams * decoder.stream + decoder.masks",
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
        file=CARDS,
        before="return round(self.usable_gib * GIB)",
        after="return round(self.usable_gib * 10**9)",
        test="tests/memory/test_gpus.py::"
        "test_every_gpu_has_figures_with_a_source_and_less_usable_than_advertised_memory[t4]",
        wrong="GB for GiB",
    ),
    Mutation(
        file=CARDS,
        before="3350, 989.0,",
        after="3350, 1979.0,",
        test="tests/memory/test_gpus.py::test_the_speed_is_the_dense_one_that_its_cores_and_their_clock_give[h100]",
        wrong="the H100's speed is that for sparse matrices",
    ),
    Mutation(
        file=GPUS,
        before='if found != "does not fit"',
        after='if found == "does not fit"',
        test="tests/memory/test_gpus.py::"
        "test_what_fits_is_the_tail_of_the_catalogue_by_usable_memory_and_each_says_how_surely",
        wrong="the GPUs that are too small are said to fit",
    ),
    Mutation(
        file=GPUS,
        before='[1] <= room_bytes else "uncertain"',
        after='[0] <= room_bytes else "uncertain"',
        test="tests/memory/test_gpus.py::test_a_fit_is_certain_exactly_if_the_largest_process_fits_and_none_if_the_tensors_do_not[14450000000]",
        wrong="what fits with luck is said to fit",
    ),
    Mutation(
        file=GPUS,
        before="FRAGMENTATION = (0.051, 0.422)",
        after="FRAGMENTATION = (0.051, 0.2)",
        test="tests/memory/test_gpus.py::test_19_of_20_measured_processes_lie_in_the_range_that_is_said",
        wrong="the range leaves out what was measured",
    ),
    Mutation(
        file=GPUS,
        before="CONTEXT_MIB if gpu is None else gpu.context_mib",
        after="CONTEXT_MIB",
        test="tests/memory/test_gpus.py::test_on_a_gpu_whose_context_was_measured_the_range_is_at_most_a_third_wide[1000000000]",
        wrong="a measured context is not used",
    ),
    Mutation(
        file=CARDS,
        before='wanted == _key(re.sub(r"-[0-9]+gb$", "", gpu.name))',
        after="_key(gpu.name).startswith(wanted)",
        test="tests/memory/test_gpus.py::test_another_card_is_not_taken_for_one_of_the_catalogue[a1]",
        wrong="a piece of a name means a card",
    ),
    Mutation(
        file="lora_lab/memory/optimizers.py",
        before='"paged_adamw": lambda w: 0 if w.numel >= MIN_PAGED else 8 * w.numel',
        after='"paged_adamw": lambda w: 0',
        test="tests/commands/test_memory_cli.py::test_paged_32_bit_states_of_small_tensors_stay_on_the_device",
        wrong="states of small tensors are said to be paged",
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
    Mutation(
        file="lora_lab/memory/kept.py",
        before="return int(self.setup.dropout > 0)",
        after="return 0",
        test="tests/memory/test_early_updates.py::test_on_cuda_each_adapter_keeps_a_thinned_copy_of_its_input_and_a_byte_of_mask_a_value",
        wrong="dropout keeps no mask",
    ),
    Mutation(
        file="lora_lab/memory/kept.py",
        before="if self.setup.dropout:  # each",
        after="if False:  # each",
        test="tests/memory/test_early_updates.py::test_on_cuda_each_adapter_keeps_a_thinned_copy_of_its_input_and_a_byte_of_mask_a_value",
        wrong="adapters share what dropout thins",
    ),
    Mutation(
        file="lora_lab/memory/kept.py",
        before="return self.norm() + first * self.mask_of(self.width.weights) * self.s.hidden",
        after="return self.norm()",
        test="tests/memory/test_early_updates.py::test_on_cuda_each_adapter_keeps_a_thinned_copy_of_its_input_and_a_byte_of_mask_a_value",
        wrong="the first layer masks an input without a gradient",
    ),
    Mutation(
        file=ESTIMATE,
        before="if setup.optimizer_in_backward:  # each",
        after="if False:  # each",
        test="tests/memory/test_early_updates.py::test_gradients_are_never_all_there_and_an_8b_model_fits_a_4090",
        wrong="gradients wait for an update that comes at once",
    ),
    Mutation(
        file=ESTIMATE,
        before='at("optimizer step", 0 if early else total,',
        after='at("optimizer step", total,',
        test="tests/memory/test_early_updates.py::test_gradients_are_never_all_there_and_an_8b_model_fits_a_4090",
        wrong="gradients are there after the backward pass that used them",
    ),
    Mutation(
        file="lora_lab/memory/step.py",
        before="        optimizer.step()\n        parameter.grad = None",
        after="        optimizer.step()",
        test="tests/memory/test_early_updates.py::test_the_update_is_the_same_within_the_backward_pass_and_after_it",
        wrong="a gradient is used again for the next weight's update",
    ),
    Mutation(
        file="lora_lab/memory/contradictions.py",
        before="if setup.optimizer_in_backward and setup.accumulation > 1:",
        after="if False:",
        test="tests/memory/test_early_updates.py::test_what_cannot_be_trained_so_is_refused",
        wrong="gradients are gathered that are gone",
    ),
    Mutation(
        file="lora_lab/memory/shares.py",
        before="return self.count * self.stored * math.ceil(self.rows / ranks)",
        after="return self.count * self.stored * self.rows // ranks",
        test="tests/memory/test_parallel.py::test_a_share_of_a_weight_is_torchs_first_chunk_of_its_rows[7]",
        wrong="shares are not rounded up to whole rows",
    ),
    Mutation(
        file="lora_lab/memory/parallel.py",
        before='state_bytes(setup, [Weight("", (share,), 1)]) + master',
        after='state_bytes(setup, [Weight("", (share,), 1)])',
        test="tests/memory/test_parallel.py::"
        "test_states_of_7_5_billion_parameters_on_64_ranks_are_those_of_the_zero_papers_figure_1[zero1-31.4]",
        wrong="ZeRO keeps no fp32 weights",
    ),
    Mutation(
        file="lora_lab/memory/parallel.py",
        before="narrow * (values if stage == 1 else share)",
        after="narrow * values",
        test="tests/memory/test_parallel.py::"
        "test_states_of_7_5_billion_parameters_on_64_ranks_are_those_of_the_zero_papers_figure_1[zero2-16.6]",
        wrong="stage 2 does not share gradients",
    ),
    Mutation(
        file="lora_lab/memory/parallel.py",
        before='"optimizer step": update}',
        after='"optimizer step": 0}',
        test="tests/memory/test_parallel.py::test_the_update_of_stage_2_needs_what_deepspeeds_own_estimator_says",
        wrong="the update needs no fp32 gradients",
    ),
    Mutation(
        file="lora_lab/memory/parallel.py",
        before="return Rank(kept, buckets, dict.fromkeys(PHASES, buckets))",
        after="return Rank(kept, buckets, dict.fromkeys(PHASES, 0))",
        test="tests/memory/test_parallel.py::test_ddp_adds_a_bucket_for_each_gradient_to_what_one_gpu_needs",
        wrong="DDP sends gradients without buckets",
    ),
    Mutation(
        file="lora_lab/memory/passes.py",
        before="seen = tokens if whole else min(tokens, s.window)",
        after="seen = tokens",
        test="tests/memory/test_inference.py::test_a_window_bounds_the_cache_of_its_layers",
        wrong="windows do not bound the cache",
    ),
    Mutation(
        file="lora_lab/memory/passes.py",
        before="return 2 * s.kv_width * width *",
        after="return 2 * s.q_width * width *",
        test="tests/memory/test_inference.py::"
        "test_the_cache_of_8192_tokens_of_llama_3_is_one_gib_and_of_llama_2_without_groups_four_times_that",
        wrong="the cache holds a key for each query head",
    ),
    Mutation(
        file="lora_lab/memory/generation.py",
        before="return least + found - 1",
        after="return least + found",
        test="tests/memory/test_inference.py::test_the_answer_of_fit_inference_fits_and_one_more_does_not[batch_size]",
        wrong="the largest batch is one too large",
    ),
    Mutation(
        file="lora_lab/memory/checkpoints.py",
        before="return 2 * numel + constants",
        after="return constants",
        test="tests/memory/test_loading.py::test_an_8b_model_is_loaded_in_four_bits_with_one_dense_matrix_more",
        wrong="a weight is quantized without being there",
    ),
    Mutation(
        file="lora_lab/memory/pairs.py",
        before='(given | {"batch_size": 2 * pairs})',
        after='(given | {"batch_size": pairs})',
        test="tests/memory/test_preference.py::test_a_pair_is_two_sequences",
        wrong="a pair is one sequence",
    ),
    Mutation(
        file="lora_lab/memory/activations.py",
        before='if setup.saves("embed_tokens") or setup.checkpointing:',
        after='if setup.saves("embed_tokens"):',
        test="tests/memory/test_estimate.py::"
        "test_layers_below_the_first_adapter_keep_nothing_unless_checkpointing_marks_the_embeddings",
        wrong="checkpointing leaves the layers below the first adapter out of the backward pass",
    ),
    Mutation(
        file="lora_lab/memory/kept.py",
        before="mlp = (1 - self.sparse) * (self.s.hidden + self.s.intermediate)",
        after="mlp = (1 - self.sparse) * self.s.intermediate",
        test="tests/memory/test_estimate.py::"
        "test_int8_weights_take_a_byte_each_and_their_inputs_stay_even_with_checkpointing",
        wrong="LLM.int8 keeps no input of gate and up",
    ),
    Mutation(
        file="lora_lab/memory/reach.py",
        before="scales = sum(shape.count * 4 * shape.d_out for shape in layers)",
        after="scales = sum(shape.count * 4 * shape.d_in for shape in layers)",
        test="tests/memory/test_estimate.py::"
        "test_int8_weights_take_a_byte_each_and_their_inputs_stay_even_with_checkpointing",
        wrong="int8 scales are counted by column",
    ),
    Mutation(
        file="lora_lab/memory/closed_form.py",
        before='streams = min(2, layers) if setup.offload == "activations" else layers',
        after="streams = layers",
        test="tests/memory/test_estimate.py::test_checkpoints_on_the_host_leave_two_on_the_device",
        wrong="checkpoints on the host are counted on the device",
    ),
    Mutation(
        file="lora_lab/memory/closed_form.py",
        before="return 8 * tokens + copy, 8 * tokens + stream + gradient + copy, 0",
        after="return 8 * values + copy, 8 * tokens + stream + gradient + copy, 0",
        test="tests/memory/test_estimate.py::"
        "test_a_fused_loss_makes_no_logits_but_the_gradients_of_hidden_states_and_head",
        wrong="a fused loss makes logits",
    ),
    Mutation(
        file="lora_lab/memory/reach.py",
        before='if weight.group == "experts"]',
        after='if weight.group == "router"]',
        test="tests/memory/test_estimate.py::"
        "test_experts_in_four_bits_make_mixtral_a_model_of_26_gb_and_the_note_says_either_way",
        wrong="experts in four bits stay dense",
    ),
    Mutation(
        file="lora_lab/memory/checkpoints.py",
        before='"upcast": (2 * stored.dense, 2 * s.vocab * s.hidden)',
        after='"upcast": (2 * stored.dense, 0)',
        test="tests/memory/test_loading.py::test_the_upcast_after_loading_needs_what_peft_s_preparation_makes[False]",
        wrong="the upcast after loading forgets that a weight is there in both widths",
    ),
    Mutation(
        file="lora_lab/commands/memory_sharing.py",
        before='needed = question.needs({**typed, **change, "gpus": cards})',
        after='needed = question.needs({**typed, **change, "gpus": 2 * cards})',
        test="tests/commands/test_memory_cli.py::"
        "test_who_asks_for_too_few_cards_is_told_how_many_would_do[llama-3.1-8b --gpu t4-4xt4]",
        wrong="more cards are offered than were counted",
    ),
    Mutation(
        file="lora_lab/commands/memory_verdict.py",
        before="tried = None if change.keys() & kept else",
        after="tried = None if change.keys() & {'seq_len'} else",
        test="tests/commands/test_memory_cli.py::test_a_bundle_keeps_the_method_where_one_does",
        wrong="a bundle gives the method up before it must",
    ),
    Mutation(
        file="lora_lab/memory/measurement.py",
        before="    gc.collect()  # what has died",
        after="    pass  # what has died",
        test="tests/memory/test_measure.py::test_what_an_earlier_measurement_left_behind_does_not_go_during_the_next",
        wrong="what an earlier measurement left behind is taken off the next",
    ),
)
