"""Mutations of the commands: exit statuses, what is saved when, and what becomes of the output."""

from tests.mutants.library.mutation import Mutation

CLI, CONSOLE, DEMO, MEMORY = (f"lora_lab/commands/{name}.py" for name in ("cli", "console", "demo", "memory"))
SAVE = (
    "    saved = _saved(model, tokenizer, method, out)  # at once: whatever happens to what follows, this is not lost\n"
)

TESTS = (
    "tests/commands/test_cli.py",
    "tests/commands/test_console.py",
    "tests/commands/test_demo.py",
    "tests/commands/test_memory_cli.py",
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
        file=DEMO,
        before='with atomic_folder(out, instead_of=(*MODEL_FILES, "adapter_*")) as temporary:',
        after="for temporary in [out]:",
        test="tests/commands/test_demo.py::test_a_full_disk_keeps_the_old_model_and_is_one_sentence[error0]",
        wrong="a half-written model replaces a whole one",
    ),
    Mutation(
        file=DEMO,
        before="after {bar.n} of {tier.steps} steps of training",
        after="after {tier.steps} of {tier.steps} steps of training",
        test="tests/commands/test_demo.py::test_an_interruption_of_the_training_says_how_far_it_came",
        wrong="an interruption claims that all steps were done",
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
        test="tests/commands/test_console.py::test_a_full_disk_under_stdout_is_one_sentence_and_status_2_after_the_work_is_done",
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
        before="return int(fits is False)",
        after="return 0",
        test="tests/commands/test_memory_cli.py::test_the_exit_status_says_whether_it_fits_and_the_text_what_would",
        wrong="what does not fit exits with 0",
    ),
    Mutation(
        file=MEMORY,
        before="_needed(options, estimate) <= budget",
        after="_needed(options, estimate) >= budget",
        test="tests/commands/test_memory_cli.py::test_the_exit_status_says_whether_it_fits_and_the_text_what_would",
        wrong="the budget is compared with the wrong side",
    ),
    Mutation(
        file=MEMORY,
        before='answer += "" if options.json else',
        after='answer += "" if not options.plot else',
        test="tests/commands/test_memory_cli.py::test_json_with_a_plot_is_still_json",
        wrong="JSON is followed by a sentence",
    ),
    Mutation(
        file=MEMORY,
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
)
