"""Small wrong changes to `lora_lab.train`."""

from tests.mutants.library.mutation import Mutation

LOOP, EVALUATE, RECIPES = (f"lora_lab/train/{name}.py" for name in ("loop", "evaluate", "recipes"))
RESTORING, LIMITS, CAUSAL = (f"lora_lab/train/{name}.py" for name in ("restoring", "limits", "causal"))

TESTS = (
    "tests/train/test_train.py",
    "tests/train/test_loop.py",
    "tests/train/test_evaluate.py",
    "tests/train/test_recipes.py",
)

MUTATIONS = (
    Mutation(
        file=RESTORING,
        before="""    optimizer.zero_grad(set_to_none=True)
    try:
        yield
    finally:
        optimizer.zero_grad(set_to_none=True)
""",
        after="    yield\n",
        test="tests/train/test_loop.py::test_two_steps_are_two_steps_of_adamw_written_by_hand",
        wrong="gradients are never cleared",
    ),
    Mutation(
        file=RESTORING,
        before="    optimizer.zero_grad(set_to_none=True)\n    try:\n",
        after="    try:\n",
        test="tests/train/test_loop.py::test_gradients_from_before_do_not_count",
        wrong="gradients from before fit count",
    ),
    Mutation(
        file=RESTORING,
        before="    finally:\n        optimizer.zero_grad(set_to_none=True)\n",
        after="    finally:\n        pass\n",
        test="tests/train/test_loop.py::test_no_gradient_is_left_behind",
        wrong="the last gradients are left behind",
    ),
    Mutation(
        file=RESTORING,
        before="            module.training = training\n",
        after="            module.training = before[0][1]\n",
        test="tests/train/test_loop.py::test_each_module_gets_its_own_mode_back",
        wrong="a frozen part in eval mode comes back in training mode",
    ),
    Mutation(
        file=RESTORING,
        before="            module.generation_config = config\n",
        after="            pass\n",
        test="tests/train/test_evaluate.py::test_greedy_is_the_argmax_whatever_the_generation_config_says[repetition_penalty]",
        wrong="what the greedy config leaves open is taken from the model's own",
    ),
    Mutation(
        file=LOOP,
        before='{"params": others, "weight_decay": 0.0}',
        after='{"params": others, "weight_decay": weight_decay}',
        test="tests/train/test_loop.py::test_two_steps_are_two_steps_of_adamw_written_by_hand",
        wrong="norms decay",
    ),
    Mutation(
        file=LOOP,
        before="            model.train()  # each time",
        after="            step == 0 and model.train()  # each time",
        test="tests/train/test_loop.py::test_dropout_is_on_in_every_step_also_after_an_evaluation",
        wrong="the mode of an evaluation is kept",
    ),
    Mutation(
        file=LOOP,
        before="waiting += rng.sample(",
        after="waiting += random.Random(seed).sample(",
        test="tests/train/test_loop.py::test_each_pass_sees_every_example_once_and_in_another_order",
        wrong="every pass has the same order",
    ),
    Mutation(
        file=LOOP,
        before="    torch.manual_seed(seed)\n",
        after="",
        test="tests/train/test_loop.py::test_the_seed_decides_about_dropout_whatever_was_drawn_before",
        wrong="dropout does not follow the seed",
    ),
    Mutation(
        file=LOOP,
        before="enabled=_compute_dtype(model) == torch.float16",
        after="enabled=False",
        test="tests/train/test_loop.py::test_float16_scales_the_loss_so_that_small_gradients_survive",
        wrong="the scaler is off in float16",
    ),
    Mutation(
        file=LOOP,
        before="        if n == 0:\n",
        after="        if n < 0:\n",
        test="tests/train/test_loop.py::test_a_masked_micro_batch_weighs_nothing",
        wrong="a masked micro-batch makes the loss NaN",
    ),
    Mutation(
        file=LOOP,
        before="* (n / sum(tokens))",
        after="/ len(batches)",
        test="tests/train/test_train.py::test_accumulating_two_half_batches_is_the_same_step",
        wrong="micro-batches are weighted alike, whatever their tokens",
    ),
    Mutation(
        file=LOOP,
        before="        if math.isfinite(norm):\n",
        after="        if True:\n",
        test="tests/train/test_loop.py::test_a_gradient_that_is_not_finite_stops_before_the_step[nan]",
        wrong="a step is taken along a gradient of NaN",
    ),
    Mutation(
        file=LOOP,
        before="for batch in batches for example in batch)",
        after="for example in batches[0])",
        test="tests/train/test_loop.py::test_a_step_counts_whichever_of_its_batches_holds_the_tokens_with_loss",
        wrong="a step whose first micro-batch is masked is left out",
    ),
    Mutation(
        file=LOOP,
        before=", left_with(trainable, best):",
        after=":",
        test="tests/train/test_loop.py::test_with_patience_the_weights_of_the_best_evaluation_are_left[scores0-8-4]",
        wrong="the last weights are left, not the best",
    ),
    Mutation(
        file=LIMITS,
        before="if limit is not None and len(ids) > limit:",
        after="if limit is not None and len(ids) > limit + 1:",
        test="tests/train/test_loop.py::test_a_sequence_beyond_the_models_positions_is_refused",
        wrong="one token past the last position is trained on",
    ),
    Mutation(
        file=LIMITS,
        before="int((original or limit) * factor)",
        after="int(limit * factor)",
        test="tests/train/test_loop.py::test_published_configurations_reach_as_far_as_their_papers_say",
        wrong="the stretch of rotary positions is counted twice",
    ),
    Mutation(
        file=LIMITS,
        before="getattr(inside(model), ",
        after="getattr(model, ",
        test="tests/train/test_loop.py::test_a_wrapper_hides_neither_positions_nor_padding_nor_checkpointing[DataParallel]",
        wrong="a wrapper hides how many positions there are",
    ),
    Mutation(
        file=CAUSAL,
        before="    if kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not",
        after="    if not kind and not",
        test="tests/train/test_loop.py::test_a_model_that_does_not_predict_the_next_token_is_refused[sees all]",
        wrong="a model that sees the token to be predicted is trained",
    ),
    Mutation(
        file=EVALUATE,
        before="    if not (logits < math.inf).all():",
        after="    if (logits == math.inf).any():",
        test="tests/train/test_evaluate.py::test_a_model_that_is_not_finite_gives_no_answer_and_no_loss[nan]",
        wrong="NaN is answered with the token 0",
    ),
    Mutation(
        file=EVALUATE,
        before="                if not math.isfinite(loss):\n",
        after="                if False:\n",
        test="tests/train/test_evaluate.py::test_a_model_that_is_not_finite_gives_no_answer_and_no_loss[nan]",
        wrong="a loss of NaN is a mean like any other",
    ),
    Mutation(
        file=EVALUATE,
        before="    with evaluating(model):\n",
        after="    model.eval()\n    if True:\n",
        test="tests/train/test_evaluate.py::test_the_mean_loss_restores_the_mode_also_after_an_error",
        wrong="mean_loss leaves eval mode",
    ),
    Mutation(
        file=EVALUATE,
        before="with evaluating(model), generating_by(model, greedy):",
        after="with model.eval() and generating_by(model, greedy):",
        test="tests/train/test_evaluate.py::test_complete_restores_mode_and_config_also_after_an_error",
        wrong="complete leaves eval mode",
    ),
    Mutation(
        file=EVALUATE,
        before="[[0] * pad + [1] * (longest - pad) for pad in pads]",
        after="[[1] * longest for pad in pads]",
        test="tests/train/test_evaluate.py::test_padding_changes_no_answer",
        wrong="padding on the left is read",
    ),
    Mutation(
        file=EVALUATE,
        before="total += loss * n\n                tokens += n\n",
        after="total += loss\n                tokens += 1\n",
        test="tests/train/test_evaluate.py::test_the_mean_loss_weighs_tokens_and_not_batches",
        wrong="the mean loss is a mean of batch means",
    ),
    Mutation(
        file=EVALUATE,
        before="text.startswith(ending)",
        after="(ending in text)",
        test="tests/train/test_evaluate.py::test_recall_counts_completions_that_begin_with_the_fact",
        wrong="recall counts a fact anywhere in the completion",
    ),
    Mutation(
        file=EVALUATE,
        before="sorted({tokenizer.eos_token_id, *(own or ())} - {None})",
        after="sorted({tokenizer.eos_token_id} - {None})",
        test="tests/train/test_evaluate.py::test_an_answer_ends_at_every_end_token_of_the_model[True]",
        wrong="a chat model's other end tokens do not end its answer",
    ),
    Mutation(
        file=RECIPES,
        before="        torch.manual_seed(seed)\n",
        after="",
        test="tests/train/test_recipes.py::test_the_seed_decides_the_adapters_whatever_was_drawn_before",
        wrong="the adapters do not follow the seed",
    ),
    Mutation(
        file=RECIPES,
        before="                model.set_submodule(name, module)\n",
        after="                pass\n",
        test="tests/train/test_recipes.py::test_an_error_after_quantizing_leaves_the_model_untouched",
        wrong="an error leaves the model half prepared",
    ),
    Mutation(
        file=RECIPES,
        before="_encoded(tokenizer, task.train)",
        after="_encoded(tokenizer, task.heldout)",
        test="tests/train/test_recipes.py::test_fine_tuning_trains_on_the_training_split",
        wrong="finetune trains on what is held out",
    ),
    Mutation(
        file=RECIPES,
        before="lambda: -answer_loss(model, tokenizer, task.validation)",
        after="lambda: -answer_loss(model, tokenizer, task.heldout)",
        test="tests/train/test_recipes.py::test_fine_tuning_never_looks_at_what_is_held_out[options1]",
        wrong="finetune chooses on what is held out",
    ),
    Mutation(
        file=RECIPES,
        before="reading(model, tokenizer, task.retention)",
        after="reading(model, tokenizer, task.heldout)",
        test="tests/train/test_evaluate.py::test_the_report_measures_each_split_by_its_name",
        wrong="retention is measured on what is held out",
    ),
)
