"""Wrong factors and ranks."""

from tests.mutants.library.mutation import Mutation

FILE = "lora_lab/lowrank.py"

TESTS = ("tests/lowrank/test_lowrank.py",)

MUTATIONS = (
    Mutation(
        file=FILE,
        before="root = s[:r].sqrt()",
        after="root = s[:r]",
        test="tests/lowrank/test_lowrank.py::test_full_rank_restores_the_weight_and_keeps_its_dtype",
        wrong="each factor takes the whole singular values",
    ),
    Mutation(
        file=FILE,
        before="weight.dtype if weight.is_floating_point() else torch.get_default_dtype()",
        after="weight.dtype",
        test="tests/lowrank/test_lowrank.py::test_integers_have_factors_in_torchs_default_dtype[dtype0]",
        wrong="factors of integers are rounded to integers",
    ),
    Mutation(
        file=FILE,
        before=".clamp(max=len(fractions) - 1)) + 1",
        after=".clamp(max=len(fractions) - 1))",
        test="tests/lowrank/test_lowrank.py::test_rank_for_energy_is_the_smallest_rank_that_keeps_it",
        wrong="one rank too few",
    ),
    Mutation(
        file=FILE,
        before='"the stable rank of a zero matrix is not defined").square().sum()',
        after='"the stable rank of a zero matrix is not defined").sum()',
        test="tests/lowrank/test_lowrank.py::test_soft_ranks_of_matrices_whose_answers_are_known",
        wrong="the stable rank of singular values instead of energies",
    ),
    Mutation(
        file=FILE,
        before="p = s / s.sum()",
        after="p = s.square() / s.square().sum()",
        test="tests/lowrank/test_lowrank.py::test_soft_ranks_of_matrices_whose_answers_are_known",
        wrong="the effective rank of energies instead of singular values",
    ),
    Mutation(
        file=FILE,
        before="B[:, r // 2 :].normal_()",
        after="B[:, : r // 2].normal_()",
        test="tests/lowrank/test_lowrank.py::test_factors_with_a_zero_product_are_each_random_of_half_the_rank[dtype0]",
        wrong="two factors that use the same directions",
    ),
    Mutation(
        file=FILE,
        before="    return s / s[0]\n",
        after="    return s\n",
        test="tests/lowrank/test_lowrank.py::test_ranks_and_shares_do_not_depend_on_the_scale[1e+200]",
        wrong="the energy of large weights overflows",
    ),
    Mutation(
        file=FILE,
        before="if not torch.isfinite(matrix).all():",
        after="if torch.isinf(matrix).all():",
        test="tests/lowrank/test_lowrank.py::test_bad_input_is_named[<lambda>-NaN]",
        wrong="NaN is factorised",
    ),
    Mutation(
        file=FILE,
        before="return (u[:, :r] * root).to(dtype), (root[:, None] * vh[:r]).to(dtype)",
        after="return (u[:, -r:] * root).to(dtype), (root[:, None] * vh[-r:]).to(dtype)",
        test="tests/lowrank/test_lowrank.py::test_what_is_left_over_has_exactly_the_energy_of_the_dropped_singular_values",
        wrong="the weakest directions are kept",
    ),
)
