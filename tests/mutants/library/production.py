"""Small wrong changes to lesson 13's figures."""

from tests.mutants.library.mutation import Mutation

FILE, HERE = "lora_lab/show/production.py", "tests/show/test_production.py"
TEST = f"{HERE}::"
GAPS = f"{TEST}test_gaps_are_drawn_as_they_are_and_the_title_has_the_largest_of_each_run"
SHAPES = f"{TEST}test_the_recipe_names_each_call_and_the_shapes_but_no_bytes"

TESTS = (HERE,)

MUTATIONS = (
    Mutation(
        file=FILE,
        before="largest[name] = max(of_run)",
        after="largest[name] = of_run[-1]",
        test=GAPS,
        wrong="the title has the gap of the last step",
    ),
    Mutation(
        file=FILE,
        before="(len(shown), shown[-1])",
        after="(1, shown[0])",
        test=GAPS,
        wrong="the names stand where the lines begin, not at their ends",
    ),
    Mutation(
        file=FILE,
        before="max(gap, 1e-7)",
        after="gap",
        test=GAPS,
        wrong="equal losses leave a logarithmic axis",
    ),
    Mutation(
        file=FILE,
        before='f"A {shape(r, d_in)}"',
        after='f"A {shape(d_in, r)}"',
        test=SHAPES,
        wrong="A stands transposed in the picture",
    ),
)
