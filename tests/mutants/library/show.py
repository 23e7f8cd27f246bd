"""Mutations of figures and tables."""

from tests.mutants.library.mutation import Mutation

MEMORY, FIGURES = "lora_lab/show/memory.py", "lora_lab/show/figures.py"

TESTS = (
    "tests/show/test_show.py",
    "tests/show/test_memory.py",
)

MUTATIONS = (
    Mutation(
        file=MEMORY,
        before="left += count / size",
        after="left = count / size",
        test="tests/show/test_memory.py::test_a_bar_ends_at_the_peak",
        wrong="the parts of a bar lie on each other",
    ),
    Mutation(
        file=MEMORY,
        before="totals.index(max(totals))",
        after="totals.index(totals[-1])",
        test="tests/show/test_memory.py::test_the_peak_of_a_closed_form_is_marked",
        wrong="the dot marks the end of the step",
    ),
    Mutation(
        file=FIGURES,
        before='alt="{html.escape(alt)}"',
        after='alt="{alt}"',
        test="tests/show/test_show.py::test_alt_and_caption_cannot_break_out_of_the_html",
        wrong="alt text can become HTML",
    ),
    Mutation(
        file=FIGURES,
        before="    plt.close(fig)",
        after="    pass",
        test="tests/show/test_show.py::test_a_shown_figure_is_closed",
        wrong="Jupyter shows a figure twice",
    ),
    Mutation(
        file="lora_lab/show/tables.py",
        before='"right" if number and numeric else "left"',
        after='"left" if number and numeric else "right"',
        test="tests/show/test_show.py::test_a_table_reads_as_aligned_text",
        wrong="numbers are aligned left, names right",
    ),
    Mutation(
        file="lora_lab/show/inputs.py",
        before="if most is not None and count > most:",
        after="if most is not None and count > most + 1:",
        test="tests/show/test_show.py::test_a_third_format_is_refused_and_not_left_out",
        wrong="a figure leaves out the last format",
    ),
    Mutation(
        file="lora_lab/show/inputs.py",
        before="if count is not None and len(found) != count:",
        after="if count is not None and len(found) > count:",
        test="tests/show/test_show.py::test_a_seed_with_fewer_scores_is_refused_and_does_not_shorten_the_others",
        wrong="a short list shortens all others",
    ),
    Mutation(
        file="lora_lab/show/explorables.py",
        before='"may fit" if low <= room',
        after='"may fit" if low >= room',
        test="tests/commands/test_memory_cli.py::test_the_explorables_verdict_is_that_of_the_catalogue",
        wrong="the explorable says the opposite of the catalogue",
    ),
)
