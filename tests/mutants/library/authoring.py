"""Mutations of what makes exercises, and of an instructor's own."""

from tests.mutants.library.mutation import Mutation

_MASTERS, _COMMAND, _PRIVATE, _CHECKS = (
    "tests/course/test_exercises.py",
    "tests/commands/test_exercises.py",
    "tests/exercises/test_private.py",
    "tests/exercises/test_checks.py",
)
_ROOM, _EXERCISES = "lora_lab/authoring", "lora_lab/exercises"

TESTS = (_MASTERS, _COMMAND, _PRIVATE, _CHECKS)

MUTATIONS = (
    Mutation(
        file=f"{_ROOM}/editions.py",
        before='("../notebooks/", "../course/workbook/")',
        after='("../notebooks/", "../notebooks/")',
        test=f"{_MASTERS}::test_links_lead_to_the_workbook_from_the_exercise_and_to_the_notebook_from_the_solution",
        wrong="an exercise leads to the lesson with its answers",
    ),
    Mutation(
        file=f"{_ROOM}/editions.py",
        before="* kind.in_repository",
        after="* True",
        test=f"{_COMMAND}::test_students_get_stubs_without_solutions_and_the_grader_what_it_reads",
        wrong="a private exercise has a badge that leads nowhere",
    ),
    Mutation(
        file=f"{_ROOM}/tags.py",
        before="if isinstance(lesson, Exercise) and name not in lesson.tasks:",
        after="if False:",
        test=f"{_MASTERS}::test_a_malformed_master_is_refused_with_its_line",
        wrong="a task without its statement is built",
    ),
    Mutation(
        file=f"{_ROOM}/tags.py",
        before="    lesson.allow += allowed",
        after="    lesson.allow = allowed",
        test=f"{_MASTERS}::test_a_master_says_what_each_task_asks_and_which_rooms_answers_may_import",
        wrong="only what the last cell allows is allowed",
    ),
    Mutation(
        file=f"{_ROOM}/tasks.py",
        before="(int(each or 1) for each in facts.groups())",
        after="(int(each or 0) for each in facts.groups())",
        test=f"{_MASTERS}::test_a_master_says_what_each_task_asks_and_which_rooms_answers_may_import",
        wrong="a task without points is worth nothing",
    ),
    Mutation(
        file=f"{_ROOM}/private.py",
        before='if not cell.id.startswith("solution-")',
        after="if cell.id",
        test=f"{_COMMAND}::test_students_get_stubs_without_solutions_and_the_grader_what_it_reads",
        wrong="students get the solutions",
    ),
    Mutation(
        file=f"{_ROOM}/private.py",
        before='turn |= {"solution": "", "gaps": [], "hints": []}',
        after="pass",
        test=f"{_COMMAND}::test_students_get_stubs_without_solutions_and_the_grader_what_it_reads",
        wrong="what the grader reads holds the solutions",
    ),
    Mutation(
        file=f"{_ROOM}/private.py",
        before='right." not in said:',
        after='right." not in said and False:',
        test=f"{_COMMAND}::test_a_solution_that_its_own_check_refuses_builds_nothing",
        wrong="a wrong solution is built",
    ),
    Mutation(
        file=f"{_EXERCISES}/private.py",
        before="_digest(name, key)).choice",
        after='_digest("", key)).choice',
        test=f"{_PRIVATE}::test_a_class_gets_the_same_numbers_each_time_and_classes_differ",
        wrong="every class gets the same numbers",
    ),
    Mutation(
        file=f"{_EXERCISES}/private.py",
        before="    drawn.clear()\n",
        after="",
        test=f"{_PRIVATE}::test_a_single_file_of_checks_draws_nothing",
        wrong="numbers of another class stay",
    ),
    Mutation(
        file=f"{_EXERCISES}/checks.py",
        before="secrets.randbelow(SEEDS)",
        after="0",
        test=f"{_CHECKS}::test_a_check_draws_afresh_each_time",
        wrong="a check draws the same inputs each time",
    ),
    Mutation(
        file=f"{_EXERCISES}/checks.py",
        before="torch.manual_seed(seed)",
        after="torch.manual_seed(0)",
        test=f"{_CHECKS}::test_a_check_draws_afresh_each_time",
        wrong="a check draws the same tensors each time",
    ),
    Mutation(
        file=f"{_EXERCISES}/checks.py",
        before="*side_by_side(verdict), ",
        after="",
        test=f"{_CHECKS}::test_yours_is_shown_beside_wanted",
        wrong="yours and wanted are not shown",
    ),
    Mutation(
        file=f"{_EXERCISES}/checks.py",
        before="if name in _marked_later:",
        after="if False:",
        test=f"{_PRIVATE}::test_an_answer_that_is_marked_later_is_taken_as_it_is",
        wrong="an answer for marks stops with an unknown task",
    ),
    Mutation(
        file="lora_lab/commands/exercises.py",
        before="theirs if folder or (",
        after="theirs if (",
        test=f"{_COMMAND}::test_every_lesson_and_exercise_is_listed_with_what_is_right",
        wrong="another folder's progress is listed",
    ),
)
