"""Mutations of the set-up cell, and of what it says about versions in Colab."""

from tests.mutants.library.mutation import Mutation

_CELL, _VERSIONS = "tests/course/test_set_up.py", "tests/commands/test_colab.py"
_SET_UP, _COLAB = "lora_lab/authoring/set_up.py", "lora_lab/commands/colab.py"

TESTS = (_CELL, _VERSIONS)

MUTATIONS = (
    Mutation(
        file=_SET_UP,
        before='"--quiet", "--no-deps", *wanted]',
        after='"--quiet", *wanted]',
        test=f"{_CELL}::test_in_colab_one_install_without_dependencies_comes_before_any_import_of_the_course",
        wrong="pip replaces what Colab ships",
    ),
    Mutation(
        file=_SET_UP,
        before="""and f'"{{ref}}"' in source for""",
        after="for",
        test=f"{_CELL}::test_another_release_or_another_place_is_replaced",
        wrong="another release stays where it is",
    ),
    Mutation(
        file=_SET_UP,
        before="|onnection|timed out",
        after="|",
        test=f"{_CELL}::test_what_fails_ends_in_one_sentence_with_the_way_out_and_pips_last_line",
        wrong="seven faults that are no network ask whether there is one",
    ),
    Mutation(
        file=_SET_UP,
        before="        if done.returncode:\n",
        after="        if done.returncode == 1:\n",
        test=f"{_CELL}::test_what_fails_ends_in_one_sentence_with_the_way_out_and_pips_last_line[killed]",
        wrong="a pip that was killed counts as done",
    ),
    Mutation(
        file=_SET_UP,
        before="(?!subprocess)",
        after="",
        test=f"{_CELL}::test_what_fails_ends_in_one_sentence_with_the_way_out_and_pips_last_line",
        wrong="pip's last line says only that a subprocess failed",
    ),
    Mutation(
        file=_SET_UP,
        before="in sys.modules and not there:",
        after="in sys.modules:",
        test=f"{_CELL}::test_installing_bitsandbytes_does_not_mark_the_course",
        wrong="a restart is asked for though the course was not replaced",
    ),
    Mutation(
        file=_SET_UP,
        before=r"^\s*(?:import|from) bitsandbytes\b",
        after=r"bitsandbytes\b",
        test=f"{_CELL}::test_bitsandbytes_is_not_installed_where_the_code_only_names_it",
        wrong="bitsandbytes is installed where a comment names it",
    ),
    Mutation(
        file=_COLAB,
        before="for name in (installed.DISTRIBUTION, *(need.name for need in _needs())):",
        after="for name in (need.name for need in _needs()):",
        test=f"{_VERSIONS}::test_a_course_that_was_replaced_under_the_session_asks_for_a_restart",
        wrong="nobody notices that the course was replaced under the session",
    ),
    Mutation(
        file=_COLAB,
        before="if module in sys.modules and not getattr(",
        after="if module in sys.modules and getattr(",
        test=f"{_VERSIONS}::test_who_looked_for_bitsandbytes_too_early_asks_for_a_restart",
        wrong="who found bitsandbytes asks for a restart, who did not is silent",
    ),
    Mutation(
        file="lora_lab/commands/installed.py",
        before=r"""re.sub(r"\.post\d+", "", Version(version).public)""",
        after="Version(version).public",
        test="tests/commands/test_cli.py::test_versions_are_compared_as_releases",
        wrong="a version packed anew asks for a restart",
    ),
)
