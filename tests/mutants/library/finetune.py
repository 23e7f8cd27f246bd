"""Small wrong changes to `lora-lab finetune`, and to the reading of its files."""

from tests.mutants.library.mutation import Mutation

JSONL = "lora_lab/data/jsonl.py"
FINETUNE, PLAN, REPORT, ROOM = (
    f"lora_lab/commands/{name}.py" for name in ("finetune", "finetune_plan", "finetune_report", "finetune_room")
)
REPORTING = "lora_lab/commands/reporting.py"
READ, RUN = "tests/data/test_jsonl.py", "tests/commands/test_finetune.py"
BAD = f"{RUN}::test_bad_input_is_one_sentence_and_status_2_and_nothing_is_done"

TESTS = (READ, RUN)

MUTATIONS = (
    Mutation(
        file="lora_lab/commands/finetune_plan.py",
        before="    tokenizer = base.tokenizer  # which, if it cannot be read, is no template's fault\n    try:\n",
        after="    try:\n        tokenizer = base.tokenizer\n",
        test=f"{RUN}::test_what_a_models_folder_lacks_is_said_by_a_dry_run_already",
        wrong="a line of the data is blamed for a tokenizer that is not there",
    ),
    Mutation(
        file=ROOM,
        before='    step = estimate.peak_bytes + estimate.components["trainable weights"]',
        after="    step = estimate.peak_bytes",
        test=f"{RUN}::test_the_verdict_counts_the_copies_of_the_best_weights",
        wrong="the verdict forgets the best weights, which are kept beside",
    ),
    Mutation(
        file=JSONL,
        before='.split(b"\\n"), start=1):',
        after=".splitlines(), start=0):",
        test=f"{READ}::test_blank_lines_bom_and_line_ends_change_nothing_but_the_numbers[utf-8-\\n]",
        wrong="lines are counted from 0",
    ),
    Mutation(
        file=JSONL,
        before="content.removeprefix(codecs.BOM_UTF8).split(",
        after="content.split(",
        test=f"{READ}::test_blank_lines_bom_and_line_ends_change_nothing_but_the_numbers[utf-8-sig-\\n]",
        wrong="a byte order mark spoils the first line",
    ),
    Mutation(
        file=JSONL,
        before="groups.setdefault(_key(example), []).append(example)",
        after="groups.setdefault(str(example.number), []).append(example)",
        test=f"{READ}::test_splits_share_no_prompt_and_lose_no_line",
        wrong="one prompt may be trained on and held out",
    ),
    Mutation(
        file=JSONL,
        before="            if first := seen.get(_key(example)):\n",
        after="            if first := seen.get(_key(example)) if other is others[0] else None:\n",
        test=f"{READ}::test_a_prompt_in_two_files_is_refused_by_its_lines",
        wrong="what is held out is not compared with what is trained on",
    ),
    Mutation(
        file=JSONL,
        before="    if not value.strip():\n",
        after="    if not value:\n",
        test=f"{READ}::test_a_bad_line_is_named_by_its_number_with_what_is_wrong",
        wrong="a prompt of blanks is taken",
    ),
    Mutation(
        file=JSONL,
        before="        raise BadLines(problems)\n    if not examples:",
        after="        raise BadLines(problems[:5])\n    if not examples:",
        test=f"{READ}::test_all_bad_lines_are_counted_and_the_first_five_shown",
        wrong="bad lines past the fifth are not counted",
    ),
    Mutation(
        file=PLAN,
        before='if most is not None and (n := len(example["input_ids"])) > most:',
        after='if most is not None and (n := len(example["input_ids"])) > 10 * most:',
        test=f"{RUN}::test_an_example_that_is_too_long_is_named_and_never_cut",
        wrong="an example that is too long goes to the model",
    ),
    Mutation(
        file=PLAN,
        before="steps = max(100, math.ceil(3 * examples / per_step))",
        after="steps = math.ceil(3 * examples / per_step)",
        test=f"{RUN}::test_steps_are_three_passes_but_at_least_100_or_what_is_asked[options0-16-100]",
        wrong="of little data too few steps are made",
    ),
    Mutation(
        file=PLAN,
        before='return (full if method == "full" else adapters), why',
        after='return (adapters if method == "full" else full), why',
        test=f"{RUN}::test_rates_fall_with_the_size_of_the_model_and_adapters_want_several_times_those_of_all_weights",
        wrong="adapters get the rate of all weights",
    ),
    Mutation(
        file=ROOM,
        before="self.needed[0] <= self.free",
        after="self.needed[0] >= self.free",
        test=f"{RUN}::test_a_dry_run_stops_after_verdict_and_plan_and_writes_nothing",
        wrong="what fits is refused",
    ),
    Mutation(
        file=ROOM,
        before="    return max(step, base.dtype.itemsize * base.parameters)",
        after="    return base.dtype.itemsize * base.parameters",
        test=f"{RUN}::test_the_verdict_counts_the_step_that_is_taken",
        wrong="only the weights are counted",
    ),
    Mutation(
        file=REPORT,
        before="[answer.strip() == example.answer.strip() for",
        after="[answer == example.answer for",
        test=f"{RUN}::test_exact_is_but_for_blanks_at_the_ends",
        wrong="a blank at the end of an answer makes it wrong",
    ),
    Mutation(
        file=REPORT,
        before="        if left < max(wanted[i] for i in chosen) and len(chosen) > 1:\n",
        after="        if False:\n",
        test=f"{RUN}::test_answers_are_as_long_as_wanted_though_another_prompt_nearly_fills_the_positions",
        wrong="a long prompt cuts the answer to another",
    ),
    Mutation(
        file=FINETUNE,
        before="        if done:\n            raise ValueError(",
        after="        if False:\n            raise ValueError(",
        test=f"{RUN}::test_an_interrupted_run_is_not_overwritten_and_not_gone_on_with_by_another",
        wrong="an interrupted run is thrown away in silence",
    ),
    Mutation(
        file=FINETUNE,
        before="    if after < before:\n",
        after="    if after <= before:\n",
        test=f"{RUN}::test_a_held_out_loss_that_did_not_improve_is_said_and_status_1",
        wrong="what did not change is called improved",
    ),
    Mutation(
        file=REPORTING,
        before="each if each.isprintable() else ascii(each)[1:-1] for",
        after="each for",
        test=f"{RUN}::test_a_sample_is_one_line_that_no_terminal_obeys[\\x1b[31mred\\x07-30-\\\\x1b[31mred\\\\x07]",
        wrong="an answer can colour the terminal",
    ),
)
