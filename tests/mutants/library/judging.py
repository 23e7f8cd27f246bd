"""Small wrong changes to the grader's sandbox, its pipe and what it reads of a notebook."""

from tests.mutants.library.mutation import Mutation

_FRAMES, _VALUES, _SANDBOX = (f"lora_lab/grading/{name}.py" for name in ("frames", "values", "sandbox"))
_PIPE, _BOX = (f"tests/grading/judging/test_{name}.py" for name in ("pipe", "sandbox"))

_DEADLINE, _SYSCALLS = "tests/grading/test_deadline.py", "tests/grading/judging/test_syscalls.py"

TESTS = (_PIPE, _BOX, _DEADLINE, _SYSCALLS, "tests/grading/judging/test_notebooks.py")

MUTATIONS = (
    Mutation(
        file=_FRAMES,
        before="            pipe.settimeout(_left(deadline))\n            part",
        after="            pipe.settimeout(deadline and 0.1)\n            part",
        test=f"{_PIPE}::test_one_byte_at_a_time_does_not_prolong_the_deadline",
        wrong="the deadline begins anew with each byte",
    ),
    Mutation(
        file=_FRAMES,
        before="    except (ValueError, RecursionError):  # RecursionError: a million brackets\n",
        after="    except RecursionError:\n",
        test=f"{_PIPE}::test_any_bytes_are_a_message_or_refused",
        wrong="a message that is no JSON stops the judge",
    ),
    Mutation(
        file=_VALUES,
        before="len(text) > DIGITS",
        after="len(text) > DIGITS * 8",
        test=f"{_PIPE}::test_a_value_is_neither_endless_nor_bottomless",
        wrong="a whole number of any length is read",
    ),
    Mutation(
        file=_SANDBOX,
        before='["--clearenv", *',
        after="[*",
        test=f"{_BOX}::test_the_environment_is_not_handed_on",
        wrong="the judge's environment is there for students to read",
    ),
    Mutation(
        file=_SANDBOX,
        before="*map(_place, sorted(rooms(allow))))",
        after="*map(_place, sorted(rooms([*allow, 'exercises']))))",
        test=f"{_BOX}::test_of_the_library_only_what_is_allowed_is_there",
        wrong="the room with the checks and the answers lies in the sandbox",
    ),
    Mutation(
        file="lora_lab/grading/notebooks.py",
        before="[*_tagged(cell), *_CALL.findall(source)]",
        after="[*_tagged(cell)]",
        test="tests/grading/judging/test_notebooks.py::test_tasks_are_found_by_tags_and_by_calls",
        wrong="tasks are found by their tags alone, which editors lose",
    ),
    Mutation(
        file="lora_lab/grading/deadline.py",
        before="class Hangs(BaseException):",
        after="class Hangs(Exception):",
        test=f"{_DEADLINE}::test_what_does_not_end_is_interrupted_and_no_except_of_a_check_holds_it",
        wrong="a check that catches what its answer raises catches its own end",
    ),
    Mutation(
        file="lora_lab/grading/syscalls.py",
        before="(_AND, 0, 0, _SHARED_AND_NOBODYS)",
        after="(_AND, 0, 0, 0x20)",
        test=f"{_SYSCALLS}::test_what_is_listed_is_denied_and_nothing_else",
        wrong="memory that is shared and nobody's can be taken",
    ),
    Mutation(
        file="lora_lab/grading/syscalls.py",
        before="[(_AT_LEAST, _OTHER_ABI), *",
        after="[*",
        test=f"{_SYSCALLS}::test_calls_by_other_numbers_are_denied",
        wrong="each denied call has a second number that is let through",
    ),
)
