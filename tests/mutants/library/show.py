"""Mutations of figures and tables."""

from tests.mutants.library.mutation import Mutation

MEMORY, FIGURES = "lora_lab/show/memory.py", "lora_lab/show/figures.py"
DIRECTIONS, MATRICES = "lora_lab/show/directions.py", "lora_lab/show/matrices.py"
START, RANKS = "lora_lab/show/start.py", "lora_lab/show/ranks.py"
SCHEMATICS, BLOCKS, DRAWING = (f"lora_lab/show/{name}.py" for name in ("schematics", "blocks", "drawing"))
PLACES = "lora_lab/show/places.py"
ALGEBRA = "lora_lab/show/algebra.py"

TESTS = (
    "tests/show/test_show.py",
    "tests/show/test_memory.py",
    "tests/show/test_directions.py",
    "tests/show/test_start.py",
    "tests/show/test_ranks.py",
    "tests/show/test_schematics.py",
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
    Mutation(
        file=DIRECTIONS,
        before="closer = sum(missed < 100 * best for missed in everything)",
        after="closer = sum(missed < best for missed in everything)",
        test="tests/show/test_directions.py::test_rivals_that_come_closer_are_counted_in_the_title",
        wrong="no rival ever comes closer",
    ),
    Mutation(
        file=MATRICES,
        before="colour = _COLOURS[column if upright else height - 1 - row]",
        after="colour = _COLOURS[row if upright else height - 1 - row]",
        test="tests/show/test_directions.py::test_a_layer_has_one_colour_in_the_sum_and_in_the_factors",
        wrong="the columns of B do not have the colours of their layers",
    ),
    Mutation(
        file=DIRECTIONS,
        before="means[name] = [100 * sum(at) / len(at) for at in zip(*seeds)]",
        after="means[name] = [100 * max(at) for at in zip(*seeds)]",
        test="tests/show/test_directions.py::test_parts_by_rank_says_the_mean_of_the_seeds_at_the_rank_asked_for",
        wrong="the best seed is shown as the mean",
    ),
    Mutation(
        file=DIRECTIONS,
        before="colour = {point: POINT, surprise: BLUE}.get(name, CONTEXT)",
        after="colour = {point: POINT}.get(name, CONTEXT)",
        test="tests/show/test_directions.py::test_a_surprise_does_not_look_like_a_control",
        wrong="a surprise looks like a control",
    ),
    Mutation(
        file=START,
        before="break_long_words=False",
        after="break_long_words=True",
        test="tests/show/test_start.py::test_a_word_longer_than_a_line_is_not_broken",
        wrong="words are broken",
    ),
    Mutation(
        file=START,
        before="best = {group: max(",
        after="best = {group: min(",
        test="tests/show/test_start.py::test_the_ladder_shows_the_mean_of_the_seeds_and_says_the_best_of_its_first_and_last_group",
        wrong="the worst rung is called the best",
    ),
    Mutation(
        file=RANKS,
        before="_png(B[:, :r] @ A[:r], M)",
        after="_png(M, M)",
        test="tests/show/test_ranks.py::test_the_picture_changes_with_the_rank",
        wrong="the picture is never cut",
    ),
    Mutation(
        file=SCHEMATICS,
        before="A = matrix(axes, (2.15, below), (r * inch, d_in * inch), TRAINED)",
        after="A = matrix(axes, (2.15, below), (d_in * inch, r * inch), TRAINED)",
        test="tests/show/test_schematics.py::test_matrices_are_to_scale_but_never_a_line",
        wrong="A is drawn transposed",
    ),
    Mutation(
        file=SCHEMATICS,
        before="numbers, full = r * (d_in + d_out), d_out * d_in",
        after="numbers, full = 2 * r * (d_in + d_out), d_out * d_in",
        test="tests/show/test_schematics.py::test_alt_text_and_picture_hold_the_shapes_and_the_numbers",
        wrong="numbers are counted twice",
    ),
    Mutation(
        file=SCHEMATICS,
        before="FROZEN, full if counts else None",
        after="FROZEN, full",
        test="tests/show/test_schematics.py::test_without_counts_nothing_gives_the_numbers_away",
        wrong="the numbers that are to be guessed stand there",
    ),
    Mutation(
        file=DRAWING,
        before="height, width = (max(side, _THIN) for side in size)",
        after="height, width = size",
        test="tests/show/test_schematics.py::test_matrices_are_to_scale_but_never_a_line",
        wrong="a thin matrix cannot be seen",
    ),
    Mutation(
        file=BLOCKS,
        before='"down_proj": ("d_model", "d_ff")',
        after='"down_proj": ("d_ff", "d_model")',
        test="tests/show/test_schematics.py::test_a_block_says_the_shape_of_each_place_its_group_and_its_note",
        wrong="down_proj has the shape of up_proj",
    ),
    Mutation(
        file=BLOCKS,
        before="            if place in member:\n",
        after="            if False:\n",
        test="tests/show/test_schematics.py::test_what_cannot_be_drawn_is_refused_in_words",
        wrong="a place in two groups takes the last one's colour",
    ),
    Mutation(
        file=ALGEBRA,
        before="even = full // (d_out + d_in) + 1",
        after="even = full // (d_out + d_in)",
        test="tests/show/test_schematics.py::test_the_break_even_rank_is_the_first_with_more_numbers",
        wrong="the last rank with fewer numbers is called the first with more",
    ),
    Mutation(
        file=ALGEBRA,
        before="continuous_update=False",
        after="continuous_update=True",
        test="tests/show/test_schematics.py::test_sliders_announce_whole_numbers_and_wait_for_the_hand",
        wrong="every pixel of a drag redraws",
    ),
    Mutation(
        file=PLACES,
        before="return max(means) - min(means)",
        after="return max(means)",
        test="tests/show/test_places.py::test_a_decision_is_worth_the_distance_of_its_best_mean_from_its_worst",
        wrong="a decision is worth its best choice, however good the worst one is",
    ),
    Mutation(
        file=PLACES,
        before="order = sorted(decided, key=lambda decision: -worth(decided[decision]))\n        for row",
        after="order = list(decided)\n        for row",
        test="tests/show/test_places.py::test_the_decision_that_is_worth_most_stands_on_top_and_in_the_title",
        wrong="decisions stand in the order in which they came",
    ),
    Mutation(
        file=PLACES,
        before="if len(choices) > 1}",
        after="}",
        test="tests/show/test_places.py::test_a_decision_with_one_choice_is_left_out",
        wrong="a decision with a single choice gets a row of length zero",
    ),
    Mutation(
        file=PLACES,
        before="steps = [every * (place + 1) for place in range(len(losses))]",
        after="steps = [every * place for place in range(len(losses))]",
        test="tests/show/test_places.py::test_a_curves_lowest_point_is_marked_with_its_step_and_told",
        wrong="the first evaluation stands at step 0",
    ),
    Mutation(
        file=PLACES,
        before="            if choice in scores:\n",
        after="            if list(scores)[row : row + 1] == [choice]:\n",
        test="tests/show/test_places.py::test_a_task_may_lack_a_choice_and_the_rows_keep_their_order",
        wrong="a task that lacks the first choice loses others too",
    ),
    Mutation(
        file=PLACES,
        before='return f"{100 * min(values):.0f} to {100 * max(values):.0f}"',
        after='return f"{100 * values[0]:.0f} to {100 * values[-1]:.0f}"',
        test="tests/show/test_places.py::test_a_choice_is_told_by_its_mean_and_the_range_of_its_seeds",
        wrong="the range is from the first seed to the last",
    ),
    Mutation(
        file=PLACES,
        before="if min(choices[better]) > max(choices[worse])",
        after="if min(choices[better]) >= max(choices[worse])",
        test="tests/show/test_places.py::test_rows_are_apart_only_when_no_dots_overlap_or_touch",
        wrong="rows whose dots touch are called apart",
    ),
    Mutation(
        file=PLACES,
        before='(row["task"], row["run"], row["seed"]) == (task, run, 0)',
        after='(row["task"], row["run"]) == (task, run)',
        test="tests/show/test_places.py::"
        "test_a_runs_scores_are_those_at_the_rate_that_seed_0_found_best_in_the_order_of_the_seeds",
        wrong="any seed chooses the rate, not seed 0 alone",
    ),
    Mutation(
        file=PLACES,
        before="axes.plot(points[0], row, clip_on=False",
        after="axes.plot(max(points), row, clip_on=False",
        test="tests/show/test_places.py::test_the_ring_is_around_the_first_seed_of_each_row",
        wrong="the ring is around the best dot",
    ),
)
