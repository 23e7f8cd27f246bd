"""Small wrong changes to training inside a subspace, to the choice of a rate, and to their figures."""

from tests.mutants.library.mutation import Mutation

SUBSPACE, RECORDS = "lora_lab/train/subspace.py", "lora_lab/records/__init__.py"
FIGURES, RATES = "lora_lab/show/subspace.py", "lora_lab/show/rates.py"
HERE, SWEEPS, SHOWN = "tests/train/test_subspace.py", "tests/records/test_sweeps.py", "tests/show/test_subspace.py"

TESTS = (HERE, SWEEPS, SHOWN)

MUTATIONS = (
    Mutation(
        file=SUBSPACE,
        before="torch.randperm(D, generator=dice).remainder(self.d)",
        after="torch.randint(0, self.d, (D,), generator=dice)",
        test=f"{HERE}::test_P_has_one_sign_a_row_and_perpendicular_columns_of_nearly_one_length[100-99]",
        wrong="some numbers of z have no listeners",
    ),
    Mutation(
        file=SUBSPACE,
        before=".mul(2.0).sub(1.0)",
        after=".mul(0.0).add(1.0)",
        test=f"{HERE}::test_a_seed_gives_one_subspace_and_another_seed_another",
        wrong="every weight listens with the same sign",
    ),
    Mutation(
        file=SUBSPACE,
        before="return sums / torch.bincount(self.column, minlength=self.d)",
        after="return sums",
        test=f"{HERE}::test_nearest_solves_the_least_squares_problem[12-3]",
        wrong="the nearest z is a sum and no mean",
    ),
    Mutation(
        file=SUBSPACE,
        before="        return weight + move.view_as(weight)",
        after="        return move.view_as(weight)",
        test=f"{HERE}::test_entering_moves_nothing_and_leaves_only_z_to_train",
        wrong="the base's weights are gone",
    ),
    Mutation(
        file=SUBSPACE,
        before="    model.requires_grad_(False)\n    z =",
        after="    z =",
        test=f"{HERE}::test_entering_moves_nothing_and_leaves_only_z_to_train",
        wrong="everything else trains too",
    ),
    Mutation(
        file=SUBSPACE,
        before="        layer.weight.requires_grad_(False)",
        after="        layer.weight.requires_grad_(True)",
        test=f"{HERE}::test_after_leaving_the_model_is_plain_and_can_enter_again",
        wrong="the matrices train after the subspace is left",
    ),
    Mutation(
        file=RECORDS,
        before='if row["seed"] == 0 and row.get',
        after="if row.get",
        test=f"{SWEEPS}::test_the_rate_of_least_validation_loss_with_seed_0_is_chosen_for_every_seed",
        wrong="any seed may choose the rate",
    ),
    Mutation(
        file=RECORDS,
        before='key=lambda row: row["validation"])["lr"]',
        after='key=lambda row: -row["exact"])["lr"]',
        test=f"{SWEEPS}::test_the_rate_of_least_validation_loss_with_seed_0_is_chosen_for_every_seed",
        wrong="the rate is chosen by the held-out score",
    ),
    Mutation(
        file=FIGURES,
        before="    met = (offset / along * u, offset / along * v)",
        after="    met = (along / offset * u, along / offset * v)",
        test=f"{SHOWN}::test_the_line_is_drawn_where_it_meets_the_solutions_and_the_shadow_where_it_is_nearest",
        wrong="the star does not lie on the solutions",
    ),
    Mutation(
        file=RATES,
        before="min(rates, key=lambda rate: losses[rate])",
        after="max(rates, key=lambda rate: losses[rate])",
        test=f"{SHOWN}::test_rate_curves_name_the_rate_of_least_loss",
        wrong="the worst rate is marked as the best",
    ),
    Mutation(
        file=FIGURES,
        before="crowded = not crowded and before",
        after="crowded = before",
        test=f"{SHOWN}::test_of_two_sizes_whose_labels_would_touch_the_second_stands_a_line_lower",
        wrong="three close sizes put two labels on the lower line, where they touch",
    ),
    Mutation(
        file=RATES,
        before="{1 / move:g}",
        after="{move:g}",
        test=f"{SHOWN}::test_the_title_of_rate_curves_says_how_far_the_best_rate_moves",
        wrong="a rate that falls to an eighth is called ÷ 0.125",
    ),
    Mutation(
        file=RATES,
        before="for term in range(r):",
        after="for term in range(4):",
        test=f"{SHOWN}::test_the_first_step_is_drawn_as_one_block_a_term_and_as_long_as_rank_times_scale",
        wrong="every rank has four terms",
    ),
    Mutation(
        file=RATES,
        before="shortest = r * s if first else shortest",
        after="shortest = s if first else shortest",
        test=f"{SHOWN}::test_the_first_step_is_drawn_as_one_block_a_term_and_as_long_as_rank_times_scale",
        wrong="a bar is held against one block",
    ),
)
