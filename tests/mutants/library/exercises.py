"""Mutations of the exercises: what is said, what a lesson goes on with, what is kept."""

from tests.mutants.library.mutation import Mutation

_CHECKS, _GUESSES, _OVERVIEW, _ARGUMENTS = (
    f"tests/exercises/test_{name}.py" for name in ("checks", "guesses", "overview", "arguments")
)
_ROOM = "lora_lab/exercises"

TESTS = (_CHECKS, _GUESSES, _OVERVIEW, _ARGUMENTS)

MUTATIONS = (
    Mutation(
        file=f"{_ROOM}/arguments.py",
        before="value.detach().clone() if isinstance(value, Tensor)",
        after="value.detach() if isinstance(value, Tensor)",
        test=f"{_ARGUMENTS}::test_a_changed_argument_is_named[a tensor written into]",
        wrong="a tensor is compared with itself",
    ),
    Mutation(
        file=f"{_ROOM}/arguments.py",
        before="copy.deepcopy(value)",
        after="copy.copy(value)",
        test=f"{_ARGUMENTS}::test_a_changed_argument_is_named[a parameter among pairs]",
        wrong="what stands inside a list is compared with itself",
    ),
    Mutation(
        file=f"{_ROOM}/arguments.py",
        before="len(now) == len(then) and all(map(_same, now, then))",
        after="all(map(_same, now, then))",
        test=f"{_ARGUMENTS}::test_a_changed_argument_is_named[a list emptied]",
        wrong="a list that has been emptied counts as the same",
    ),
    Mutation(
        file=f"{_ROOM}/checks.py",
        before="        saved.turn(name, right=True)\n        return answer",
        after="        saved.turn(name, right=True)\n        return task.reference()",
        test=f"{_CHECKS}::test_a_right_answer_goes_on_and_is_said_to_be_right",
        wrong="the lesson goes on with the library's code although the learner's is right",
    ),
    Mutation(
        file=f"{_ROOM}/checks.py",
        before="{units.first_line(error)}",
        after="{error}",
        test=f"{_CHECKS}::test_what_the_learners_code_raises_is_one_sentence_with_the_line",
        wrong="an error of several lines is no sentence",
    ),
    Mutation(
        file=f"{_ROOM}/checks.py",
        before="if _is_a_cell(frame.filename)]",
        after="]",
        test=f"{_CHECKS}::test_the_line_is_of_the_learners_cell_and_not_of_what_it_called",
        wrong="the line is one of a library",
    ),
    Mutation(
        file=f"{_ROOM}/checks.py",
        before="            random.setstate(state)",
        after="            pass",
        test=f"{_CHECKS}::test_what_is_drawn_after_a_check_does_not_depend_on_it",
        wrong="what is drawn after a check depends on whether there was one",
    ),
    Mutation(
        file=f"{_ROOM}/arguments.py",
        before="now.shape == then.shape and ",
        after="",
        test=f"{_ARGUMENTS}::test_a_changed_argument_is_named[a tensor given another shape]",
        wrong="a tensor of another shape, which broadcasts, counts as the same",
    ),
    Mutation(
        file=f"{_ROOM}/checks.py",
        before="frames[-1].lineno",
        after="frames[0].lineno",
        test=f"{_CHECKS}::test_of_two_cells_the_line_is_of_the_one_that_was_called_last",
        wrong="the line is of the cell that called the one that stopped",
    ),
    Mutation(
        file=f"{_ROOM}/guessing.py",
        before="min(near)[1]",
        after="near[0][1]",
        test=f"{_GUESSES}::test_near_two_typical_wrong_values_the_nearer_one_is_told",
        wrong="of two wrong values the first one is told, not the nearer one",
    ),
    Mutation(
        file=f"{_ROOM}/saved.py",
        before="if guessed is not None and math.isfinite(measured)",
        after="if guessed is not None",
        test=f"{_OVERVIEW}::test_what_was_measured_without_a_value_is_not_kept_and_nothing_is_said_of_the_file[nan]",
        wrong="what has no value is a complaint about the progress file",
    ),
    Mutation(
        file=f"{_ROOM}/overview.py",
        before='sum(name in kept["guesses"] for name in each.guesses)',
        after='len(kept["guesses"])',
        test=f"{_OVERVIEW}::test_progress_counts_what_is_of_this_lesson",
        wrong="a lesson counts the guesses of all",
    ),
    Mutation(
        file=f"{_ROOM}/stubs.py",
        before="wanted.keys() <= codes.keys() and all(",
        after="wanted.keys() <= codes.keys() and any(",
        test=f"{_CHECKS}::test_the_stub_of_a_class_is_not_yet_done_and_the_class_is",
        wrong="a class with one method left as it was counts as not yet done",
    ),
    Mutation(
        file=f"{_ROOM}/stubs.py",
        before="(one.co_code, one.co_names, one.co_varnames) != (other.co_code, other.co_names, other.co_varnames)",
        after="one.co_code != other.co_code",
        test=f"{_CHECKS}::test_any_other_code_than_the_stubs_is_an_answer[y = x-z = x]",
        wrong="code with other names counts as the stub",
    ),
    Mutation(
        file=f"{_ROOM}/guessing.py",
        before="and abs(guessed - wrong) < abs(guessed - truth)",
        after="",
        test=f"{_GUESSES}::test_a_guess_near_a_typical_wrong_value_shows_what_that_one_reveals",
        wrong="a good guess is told what a wrong one reveals",
    ),
    Mutation(
        file=f"{_ROOM}/guessing.py",
        before="<= NEAR * abs(wrong)",
        after="<= NEAR * abs(guessed)",
        test=f"{_GUESSES}::test_a_guess_near_a_typical_wrong_value_shows_what_that_one_reveals",
        wrong="near is measured by the guess and not by the wrong value",
    ),
    Mutation(
        file=f"{_ROOM}/wording.py",
        before="times = max(guessed / measured, measured / guessed)",
        after="times = guessed / measured",
        test=f"{_GUESSES}::test_the_distance_of_a_plain_number_is_a_difference_and_from_three_times_on_a_factor",
        wrong="a guess far too small gets no factor",
    ),
    Mutation(
        file=f"{_ROOM}/wording.py",
        before='    if question.startswith(("%", "points")):',
        after='    if "%" in question:',
        test=f"{_GUESSES}::test_the_distance_of_a_plain_number_is_a_difference_and_from_three_times_on_a_factor",
        wrong="a percentage anywhere in the question makes points of gigabytes",
    ),
    Mutation(
        file=f"{_ROOM}/overview.py",
        before="distance(guessed, measured, question)",
        after='distance(guessed, measured, "")',
        test=f"{_GUESSES}::test_the_table_of_the_cell_and_that_of_the_lesson_know_that_it_is_a_percentage",
        wrong="the lesson's table says points as plain numbers",
    ),
    Mutation(
        file=f"{_ROOM}/hints.py",
        before="        _shown[name] += 1\n",
        after="",
        test=f"{_OVERVIEW}::test_each_call_shows_the_next_hint_and_the_last_one_names_the_solution",
        wrong="the second call shows the first hint again",
    ),
    Mutation(
        file=f"{_ROOM}/saved.py",
        before='right or entry.get("right") is True',
        after="right",
        test=f"{_OVERVIEW}::test_tries_are_counted_and_what_was_right_once_stays_right",
        wrong="a later try takes away what was right",
    ),
    Mutation(
        file=f"{_ROOM}/saved.py",
        before="    return {**content, **found}",
        after="    return found",
        test=f"{_OVERVIEW}::test_what_another_notebook_wrote_meanwhile_is_kept",
        wrong="what a later version keeps in the file is lost",
    ),
    Mutation(
        file=f"{_ROOM}/saved.py",
        before="        number += 1",
        after="        break",
        test=f"{_OVERVIEW}::test_a_second_damaged_file_does_not_replace_the_first",
        wrong="a second damaged file replaces the first that was kept",
    ),
    Mutation(
        file=f"{_ROOM}/practice/parcels.py",
        before="value.numel() * value.element_size()",
        after="value.numel()",
        test="tests/exercises/test_parcels.py::test_every_byte_of_every_tensor_counts",
        wrong="the puzzle counts numbers and not bytes",
    ),
    Mutation(
        file=f"{_ROOM}/practice/parcels.py",
        before="    if len(columns.unique()) < k:",
        after="    if False:",
        test="tests/exercises/test_parcels.py::test_what_is_no_piece_is_refused",
        wrong="a piece names a column twice, and one of them is lost",
    ),
    Mutation(
        file=f"{_ROOM}/practice/parcels.py",
        before="    places = torch.arange(bits - 1, -1, -1)",
        after="    places = torch.arange(bits)",
        test="tests/exercises/test_parcels.py::test_the_notebooks_tools_are_the_checks",
        wrong="codes are packed lowest bit first",
    ),
    Mutation(
        file=f"{_ROOM}/quantities.py",
        before="abs(found) > LARGEST",
        after="abs(found) > 10**3000",
        test="tests/exercises/test_quantities.py::test_what_is_no_number_is_said_in_a_short_sentence",
        wrong="a huge whole number ends in an error of float()",
    ),
)
