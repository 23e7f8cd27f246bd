"""Mutations of the commands: exit statuses, what is saved when, and what becomes of the output."""

from tests.mutants.library.mutation import Mutation

CLI, CONSOLE, DEMO, MEMORY = (f"lora_lab/commands/{name}.py" for name in ("cli", "console", "demo", "memory"))
SETTINGS, ROOM, VERDICT, MEASURED, TRAINING, ANSWERING, REFUSALS, ANSWER = (
    f"lora_lab/commands/memory_{name}.py"
    for name in ("settings", "room", "verdict", "measured", "training", "answering", "refusals", "answer")
)
DELIVERY = "lora_lab/commands/delivery"
_DELIVERED, _LAB = "tests/commands/test_delivery.py::", "tests/commands/test_lab.py::"
SAVE = (
    "    saved = reporting.save(tuned, tokenizer, method, out)  # at once: "
    "whatever happens to what follows, this is not lost\n"
)

TESTS = (
    "tests/commands/test_cli.py",
    "tests/commands/test_console.py",
    "tests/commands/test_delivery.py",
    "tests/commands/test_demo.py",
    "tests/commands/test_lab.py",
    "tests/commands/test_memory_cli.py",
    "tests/commands/test_reading_back.py",
)

MUTATIONS = (
    Mutation(
        file=DEMO,
        before=SAVE,
        after='    print("\\n" + _score_table(before, before))\n' + SAVE,
        test="tests/commands/test_demo.py::test_printing_that_fails_costs_no_adapter",
        wrong="the adapter is saved after results are printed",
    ),
    Mutation(
        file="lora_lab/commands/reporting.py",
        before='with atomic_folder(out, instead_of=(*MODEL_FILES, "adapter_*")) as temporary:',
        after="for temporary in [out]:",
        test="tests/commands/test_demo.py::test_a_full_disk_keeps_the_old_model_and_is_one_sentence[error0]",
        wrong="a half-written model replaces a whole one",
    ),
    Mutation(
        file=DEMO,
        before="return 0 if exact > wanted and same else 1",
        after="return 0 if exact > wanted else 1",
        test="tests/commands/test_demo.py::test_an_adapter_that_answers_otherwise_when_it_is_read_is_a_failure",
        wrong="an adapter that another program reads otherwise is a success",
    ),
    Mutation(
        file=DEMO,
        before="after {done} of {tier.steps} steps of training",
        after="after {tier.steps} of {tier.steps} steps of training",
        test="tests/commands/test_demo.py::test_an_interruption_of_the_training_says_how_far_it_came",
        wrong="an interruption claims that all steps were done",
    ),
    Mutation(
        file=DEMO,
        before="return min(reached, default=TARGET) - ALLOWED",
        after="return max(reached, default=TARGET) - ALLOWED",
        test="tests/commands/test_reading_back.py::test_the_real_model_must_reach_its_worst_seed_less_ten_points",
        wrong="the real model must reach its best seed",
    ),
    Mutation(
        file=DEMO,
        before='if row["run"] == method]',
        after='if row["run"].startswith(method)]',
        test="tests/commands/test_reading_back.py::test_the_real_model_must_reach_its_worst_seed_less_ten_points",
        wrong="the control's score is the real model's target",
    ),
    Mutation(
        file="lora_lab/commands/reading_back.py",
        before="[row[:-1][of_row[1:] != IGNORE].tolist()",
        after="[row[1:][of_row[1:] != IGNORE].tolist()",
        test="tests/commands/test_reading_back.py::test_greedy_answers_are_the_choices_at_their_places",
        wrong="choices are read one place too late",
    ),
    Mutation(
        file="lora_lab/commands/reading_back.py",
        before="return sum(a == b for a, b in zip(one, other, strict=True))",
        after="return sum(a[:-1] == b[:-1] for a, b in zip(one, other, strict=True))",
        test="tests/commands/test_reading_back.py::test_one_token_that_differs_is_another_answer",
        wrong="an answer that does not end passes for one that does",
    ),
    Mutation(
        file=CONSOLE,
        before="if error.errno != errno.EPIPE:",
        after="if error.errno:",
        test="tests/commands/test_console.py::test_a_reader_that_went_away_is_no_failure_and_a_full_disk_is",
        wrong="a reader that went away changes the exit status",
    ),
    Mutation(
        file=CONSOLE,
        before='text.encode(encoding, "replace")',
        after='text.encode(encoding, "ignore")',
        test="tests/commands/test_console.py::test_what_an_encoding_lacks_becomes_a_question_mark_and_the_rest_stays",
        wrong="characters that an encoding lacks vanish",
    ),
    Mutation(
        file=CONSOLE,
        before="        out.flush()\n        err.flush()\n",
        after="",
        test="tests/commands/test_console.py::test_what_was_printed_has_left_its_buffers_after_the_block",
        wrong="what was printed stays in a buffer",
    ),
    Mutation(
        file=CLI,
        before="return status if _is_whole(out) else 2",
        after="return status",
        test="tests/commands/test_console.py::"
        "test_a_full_disk_under_stdout_is_one_sentence_and_status_2_after_the_work_is_done",
        wrong="an answer that could not be written counts as given",
    ),
    Mutation(
        file=CLI,
        before="        return 130",
        after="        return 1",
        test="tests/commands/test_cli.py::test_an_interrupt_is_status_130_without_traceback",
        wrong="an interrupt looks like a missed target",
    ),
    Mutation(
        file=MEMORY,
        before='"does not fit": 3,',
        after='"does not fit": 0,',
        test="tests/commands/test_memory_cli.py::"
        "test_the_first_line_is_the_verdict_with_its_numbers_and_the_exit_status_says_it_too[llama-3.1-8"
        "b --gpu t4 --method full-3-Does not fit: ]",
        wrong="what does not fit exits with 0",
    ),
    Mutation(
        file=MEMORY,
        before='"uncertain": 4}',
        after='"uncertain": 0}',
        test="tests/commands/test_memory_cli.py::"
        "test_the_first_line_is_the_verdict_with_its_numbers_and_the_exit_status_says_it_too[llama-3.1-8"
        "b --gpu t4-4-Uncertain: ]",
        wrong="what is uncertain passes for what fits",
    ),
    Mutation(
        file=TRAINING,
        before="replace(estimate, known_error=str(error or unmeasured(setup.method, setup.base)))",
        after="estimate",
        test="tests/commands/test_memory_cli.py::test_without_a_record_of_the_stack_nothing_is_claimed[None]",
        wrong="an error against simulation stands for one against the world",
    ),
    Mutation(
        file=MEASURED,
        before=".get(stack, {})",
        after='.get("peft-loop", {})',
        test="tests/commands/test_memory_cli.py::"
        "test_each_stack_and_method_prints_its_own_error_against_measured_runs_and_no_other",
        wrong="the error of one stack is claimed for all",
    ),
    Mutation(
        file=MEASURED,
        before=".get(method) or {}",
        after='.get("qlora") or {}',
        test="tests/commands/test_memory_cli.py::"
        "test_each_stack_and_method_prints_its_own_error_against_measured_runs_and_no_other",
        wrong="QLoRA's error is claimed for every method",
    ),
    Mutation(
        file=TRAINING,
        before='if "chunked_loss" in now.software.can:',
        after="if True:",
        test="tests/commands/test_memory_cli.py::"
        "test_a_way_out_is_one_that_the_stack_has[llama-3.1-8b --stack peft --batch-size 4-has0-lacks0]",
        wrong="the Trainer is said to have a chunked loss",
    ),
    Mutation(
        file=TRAINING,
        before=' and now.precision != "fp16"',
        after="",
        test="tests/commands/test_memory_cli.py::test_a_way_out_is_one_that_the_stack_has[llama-3.1-8b --stack "
        "peft-loop --method full --seq-len 128 --precision fp16-has5-lacks5]",
        wrong="an update within the backward pass is offered beside a scaled loss",
    ),
    Mutation(
        file=TRAINING,
        before="    _refuse_float16(setup, room)\n",
        after="",
        test="tests/commands/test_memory_cli.py::test_torchtune_is_refused_what_its_recipes_refuse[--gpu t4]",
        wrong="torchtune is said to fit where it refuses to run",
    ),
    Mutation(
        file=VERDICT,
        before=" or tried.peak_bytes <= best.peak_bytes",
        after="",
        test="tests/commands/test_memory_cli.py::test_what_together_is_not_enough_names_no_flag_that_does_nothing",
        wrong="a bundle names flags that do nothing",
    ),
    Mutation(
        file=SETTINGS,
        before='typed.get("keep_outputs") or typed.get("fused_loss")',
        after='typed.get("keep_outputs")',
        test="tests/commands/test_memory_cli.py::"
        "test_every_flag_is_the_setting_of_an_estimate[--stack torchtune --fused-loss-options13]",
        wrong="a fused loss cannot be had with torchtune",
    ),
    Mutation(
        file=SETTINGS,
        before="settled = {**own, **{name: value for name, value in typed.items() if name not in TOGETHER}}",
        after="settled = {**{name: value for name, value in typed.items() if name not in TOGETHER}, **own}",
        test="tests/commands/test_memory_cli.py::"
        "test_every_flag_is_the_setting_of_an_estimate[--no-checkpointing-options1]",
        wrong="the stack overrides what was typed",
    ),
    Mutation(
        file=SETTINGS,
        before='own[name] = None if name == "chunked_loss" else False',
        after="del own[name]",
        test="tests/commands/test_memory_cli.py::"
        "test_every_flag_is_the_setting_of_an_estimate[--precision bf16-options10]",
        wrong="a setting of the stack forbids a flag",
    ),
    Mutation(
        file=SETTINGS,
        before="return config.model_type if sizes(config).score_cap else None",
        after="return None",
        test="tests/commands/test_memory_cli.py::"
        "test_the_bare_command_answers_for_every_model_and_says_what_it_chose[gemma-2-2b---attention eag"
        "er, since sdpa cannot cap-setting0]",
        wrong="Gemma 2 is refused with the bare command",
    ),
    Mutation(
        file=TRAINING,
        before='"accumulation": now.batch_size * now.accumulation',
        after='"accumulation": now.accumulation',
        test="tests/commands/test_memory_cli.py::"
        "test_a_way_out_keeps_the_batch_of_an_update_and_is_no_longer_than_needed",
        wrong="a way out changes the batch of an update",
    ),
    Mutation(
        file=VERDICT,
        before="            steps, best = fewer, tried\n    return",
        after="            continue\n    return",
        test="tests/commands/test_memory_cli.py::"
        "test_a_way_out_keeps_the_batch_of_an_update_and_is_no_longer_than_needed",
        wrong="flags that are not needed are asked for",
    ),
    Mutation(
        file=TRAINING,
        before='ranks=typed["gpus"], sharding=typed["sharding"]',
        after='ranks=typed["gpus"], sharding="ddp"',
        test="tests/commands/test_memory_cli.py::test_several_cards_are_the_fullest_rank_of_the_library[fsdp2]",
        wrong="several cards are judged as DDP whatever was typed",
    ),
    Mutation(
        file=ROOM,
        before="_cards(options.gpu) if options.gpu is not None else (1, None)",
        after="(1, _cards(options.gpu)[1]) if options.gpu is not None else (1, None)",
        test="tests/commands/test_memory_cli.py::"
        "test_two_cards_are_two_however_they_are_typed_and_ddp_unless_told_otherwise[--gpu 2xt4]",
        wrong="two cards count as one",
    ),
    Mutation(
        file=ROOM,
        before="(self.bytes - context) / (1 + FRAGMENTATION[1])",
        after="(self.bytes - context) / (1 + FRAGMENTATION[0])",
        test="tests/commands/test_memory_cli.py::"
        "test_the_largest_batch_and_context_fit_and_the_next_ones_do_not[llama-3.1-8b --weights nf4 --gpu t4]",
        wrong="a batch is said to fit surely that may not",
    ),
    Mutation(
        file=ANSWER,
        before="self.loading.peak_bytes > self.estimate.peak_bytes",
        after="self.loading.peak_bytes < 0",
        test="tests/commands/test_memory_cli.py::test_where_loading_needs_more_it_is_said_and_the_verdict_is_on_it"
        "[llama-3.1-70b --inference --weights int8 --context 128-loaded0]",
        wrong="loading that does not fit is not said",
    ),
    Mutation(
        file=TRAINING,
        before="replace(estimate, known_error=UNCOMPARED)",
        after="estimate",
        test="tests/commands/test_memory_cli.py::"
        "test_dpo_is_the_librarys_preference_and_claims_no_error_that_was_not_measured[-qlora-adapters]",
        wrong="a step of DPO claims the error of a step without preferences",
    ),
    Mutation(
        file=ANSWERING,
        before="return max(memory.inference(self.config, **settled).peak_bytes, before.peak_bytes if before else 0)",
        after="return memory.inference(self.config, **settled).peak_bytes",
        test="tests/commands/test_memory_cli.py::test_ways_out_of_every_kind_save_what_they_say_when_they_are_typed"
        "[llama-3.1-70b --inference --weights int8 --context 128 --gpu h100]",
        wrong="a way out of answering forgets that the weights are loaded first",
    ),
    Mutation(
        file=REFUSALS,
        before="if options.sharding and cards == 1:",
        after="if options.sharding and options.gpus is None:",
        test="tests/commands/test_memory_cli.py::"
        "test_flags_that_do_not_go_together_are_one_sentence_and_nothing_is_printed"
        "[--sharding fsdp2 --gpus 1-add --gpus 2]",
        wrong="sharding on one card is counted as if it were none",
    ),
    Mutation(
        file=MEMORY,
        before='text += "" if options.json else',
        after='text += "" if not options.plot else',
        test="tests/commands/test_memory_cli.py::test_json_with_a_plot_is_still_json",
        wrong="JSON is followed by a sentence",
    ),
    Mutation(
        file=ROOM,
        before='"gib": GIB',
        after='"gib": GB',
        test="tests/commands/test_memory_cli.py::test_amounts_of_memory_carry_their_unit[14.5 GiB-15569256448]",
        wrong="GB for GiB in a budget",
    ),
    Mutation(
        file=CONSOLE,
        before="        for line in lines:\n            self.write(line)",
        after="        self._stream.writelines(lines)",
        test="tests/commands/test_console.py::test_lines_at_once_cannot_fail_either",
        wrong="several lines at once can fail",
    ),
    Mutation(
        file=f"{DELIVERY}/folder.py",
        before="if current.reads_as(new) or (known.delivered and current.reads_as(known.delivered)):",
        after="if known.delivered or current.reads_as(new):",
        test=f"{_DELIVERED}test_whatever_is_typed_stays_and_the_new_lesson_comes_beside_it[a turn]",
        wrong="a lesson that the learner worked in is replaced",
    ),
    Mutation(
        file=f"{DELIVERY}/versions.py",
        before="return (self.cells, self.frame) == (other.cells, other.frame)",
        after="return self.cells == other.cells",
        test=f"{_DELIVERED}test_whatever_is_typed_stays_and_the_new_lesson_comes_beside_it[the set-up]",
        wrong="what was typed into the set-up cell is lost",
    ),
    Mutation(
        file=f"{DELIVERY}/folder.py",
        before="return work(there, base, base).items() <= work(theirs, started, base).items()",
        after="return True",
        test=f"{_DELIVERED}test_what_was_carried_over_stays_although_the_learner_then_deleted_it_in_their_own",
        wrong="the last copy of a turn is overwritten",
    ),
    Mutation(
        file=f"{DELIVERY}/material.py",
        before="return self.is_executed or self.name in TEACHING",
        after="return self.is_executed",
        test=f"{_DELIVERED}test_an_instructors_guide_comes_only_with_the_solutions_and_brings_its_sheets",
        wrong="the answers to all guesses come into every learner's folder",
    ),
    Mutation(
        file=f"{DELIVERY}/folder.py",
        before="if executed or not item.has_answers or item.name in known:",
        after="if executed or not item.is_executed or item.name in known:",
        test=f"{_DELIVERED}test_an_instructors_guide_comes_only_with_the_solutions_and_brings_its_sheets",
        wrong="a learner's folder gets the instructor's guide",
    ),
    Mutation(
        file=f"{DELIVERY}/folder.py",
        before="not current.reads_as(known.beside.written):",
        after="False:",
        test=f"{_DELIVERED}test_a_newer_version_does_not_take_the_place_of_one_that_was_worked_in[a note]",
        wrong="a lesson beside the learner's is overwritten although they worked in it",
    ),
    Mutation(
        file=f"{DELIVERY}/folder.py",
        before='for each in _names(path, "before") if not os.path.lexists(each))',
        after='for each in _names(path, "before"))',
        test=f"{_DELIVERED}test_a_lesson_starts_afresh_and_the_old_one_is_kept_each_time",
        wrong="the second copy that is kept replaces the first",
    ),
    Mutation(
        file=f"{DELIVERY}/folder.py",
        before="if any(each.cells == new.cells for each in known.versions()):",
        after="if known.delivered and known.delivered.cells == new.cells:",
        test=f"{_DELIVERED}test_what_was_offered_is_not_offered_again_even_if_the_learner_removed_it",
        wrong="the same lesson comes beside the learner's at each start",
    ),
    Mutation(
        file=f"{DELIVERY}/record.py",
        before="            versions.reverse()\n",
        after="            pass\n",
        test=f"{_DELIVERED}test_the_new_lesson_renamed_over_the_old_one_is_the_base_from_then_on",
        wrong="a turn is compared with a stub that it did not start from",
    ),
    Mutation(
        file=f"{DELIVERY}/carrying.py",
        before='if kind == "guess" and before not in (None, now):',
        after='if kind == "guess" and before is None:',
        test=f"{_DELIVERED}test_a_guess_at_another_question_is_said_with_its_value_and_not_carried",
        wrong="a guess in one unit answers a question in another",
    ),
    Mutation(
        file=f"{DELIVERY}/carrying.py",
        before="before is not None and not same_code(before, now):",
        after="before is not None and before != now:",
        test=f"{_DELIVERED}test_a_stub_with_other_words_takes_the_turn_along_and_one_with_other_code_does_not",
        wrong="a corrected comment costs the learner's code",
    ),
    Mutation(
        file=f"{DELIVERY}/notebooks.py",
        before='for cell in notebook["cells"] if source(cell))',
        after='for cell in notebook["cells"])',
        test=f"{_DELIVERED}test_an_untouched_lesson_is_replaced_whatever_running_and_saving_it_changed",
        wrong="the empty cell that JupyterLab adds counts as the learner's work",
    ),
    Mutation(
        file=f"{DELIVERY}/notebooks.py",
        before="if (kind, name) in named(cell) or defines.search(source(cell))]",
        after="if (kind, name) in named(cell)]",
        test=f"{_DELIVERED}test_answers_are_found_by_the_code_that_asks_for_them_where_ids_and_tags_are_lost",
        wrong="an editor that drops ids and tags costs the learner's answers",
    ),
    Mutation(
        file="lora_lab/commands/lab.py",
        before="place == root or place.is_relative_to(own):",
        after="place == own:",
        test=f"{_LAB}test_a_folder_among_the_courses_own_files_is_refused[notebooks/deep]",
        wrong="the course is delivered into its own notebooks",
    ),
    Mutation(
        file="lora_lab/commands/jupyter.py",
        before="(place, given.get(name))",
        after="(given.get(name), place)",
        test=f"{_LAB}test_the_kernel_is_this_environments_whatever_else_is_called_python3",
        wrong="another environment's kernel runs the lessons",
    ),
    Mutation(
        file="lora_lab/commands/jupyter.py",
        before="return {**kept, **given, **own}",
        after="return {**given, **kept, **own}",
        test=f"{_LAB}test_commands_of_this_environment_come_first_and_the_rest_of_the_environment_is_as_it_was",
        wrong="progress is kept although the user wants none",
    ),
)
