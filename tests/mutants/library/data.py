"""Small wrong changes to `lora_lab.data`."""

from tests.mutants.library.mutation import Mutation

BATCHES, PEOPLE, SCORES, TASKS, WORLD = (
    f"lora_lab/data/{name}.py" for name in ("batches", "people", "scores", "tasks", "world")
)
RECORDED = "tests/data/test_data.py::test_the_examples_that_recorded_runs_trained_on_stay_what_they_are"

TESTS = ("tests/data/test_data.py", "tests/ground/test_ranges.py")

MUTATIONS = (
    Mutation(
        file=TASKS,
        before="        if subject not in taken:\n",
        after="        if True:\n",
        test="tests/data/test_data.py::test_training_that_leaves_nobody_to_validate_on_is_refused[open_book]",
        wrong="validation meets people from training",
    ),
    Mutation(
        file=TASKS,
        before='subject, example = draw(rng, "train")',
        after='subject, example = draw(rng, "heldout")',
        test="tests/data/test_data.py::test_people_to_validate_on_are_of_the_training_population",
        wrong="validation draws from the people that are held out",
    ),
    Mutation(
        file=TASKS,
        before='_PARITY = {"train": 0, "heldout": 1}',
        after='_PARITY = {"train": 0, "heldout": 0}',
        test=f"{RECORDED}[cipher-2e3aae7f3ffa-4f50a6707559]",
        wrong="the cipher's held-out lists may be those of training",
    ),
    Mutation(
        file=TASKS,
        before='ask(person, f, "full", 1)',
        after='ask(person, f, "full", 0)',
        test="tests/data/test_data.py::test_splits_share_no_prompt_and_the_same_seed_gives_the_same_task[new_facts]",
        wrong="the wording that is held out is the one of training",
    ),
    Mutation(
        file=TASKS,
        before="validation=examples(people[learned:half])",
        after="validation=examples(people[:half])",
        test="tests/data/test_data.py::test_closed_book_validates_on_an_eighth_of_the_people",
        wrong="closed_book validates on people from training",
    ),
    Mutation(
        file=PEOPLE,
        before="return rng.choice(sorted(names(group)))",
        after="return rng.choice(sorted(_spelled(_FIRST)))",
        test="tests/data/test_data.py::test_a_stranger_is_found_even_where_chance_is_no_help[heldout]",
        wrong="a stranger may be of another population",
    ),
    Mutation(
        file=TASKS,
        before='draw, rngs["validation"], taken',
        after='draw, rngs["train"], taken',
        test="tests/data/test_data.py::test_the_examples_that_recorded_runs_were_stopped_by_stay_what_they_are[open_book-47b3692c3fd8]",
        wrong="validation goes on where training ended",
    ),
    Mutation(
        file=WORLD,
        before="known.setdefault(person.first_name, person)",
        after="known.setdefault(person.name, person)",
        test="tests/data/test_data.py::test_the_worlds_people_are_told_apart_by_their_first_names",
        wrong="two people of the world share a first name",
    ),
    Mutation(
        file=BATCHES,
        before="torch.arange(longest) < lengths[:, None]",
        after="torch.arange(longest) <= lengths[:, None]",
        test="tests/data/test_data.py::test_padding_is_masked_and_without_loss",
        wrong="the first token of padding is read",
    ),
    Mutation(
        file=BATCHES,
        before='padded("labels", IGNORE)',
        after='padded("labels", pad_id)',
        test="tests/data/test_data.py::test_padding_is_masked_and_without_loss",
        wrong="padding carries loss",
    ),
    Mutation(
        file=BATCHES,
        before='"labels": [IGNORE] * len(before) + after',
        after='"labels": before + after',
        test="tests/data/test_data.py::test_only_the_answer_and_its_end_carry_loss",
        wrong="the prompt carries loss",
    ),
    Mutation(
        file=BATCHES,
        before="if len(windows[-1]) + len(document) > length:",
        after="if len(windows[-1]) + len(document) >= length:",
        test="tests/data/test_data.py::test_a_window_may_be_filled_to_its_last_token",
        wrong="a document that just fits opens a new window",
    ),
    Mutation(
        file=SCORES,
        before="given[i] == word",
        after="word in given",
        test="tests/data/test_data.py::test_list_scores_want_each_word_in_its_place",
        wrong="a word counts wherever it stands",
    ),
    Mutation(
        file="lora_lab/ranges.py",
        before="isinstance(value, bool) or not isinstance(value, Integral)",
        after="not isinstance(value, Integral)",
        test="tests/ground/test_ranges.py::test_what_is_not_a_whole_number_is_refused",
        wrong="True is a number of steps",
    ),
    Mutation(
        file=SCORES,
        before="return isinstance(given, bool) == isinstance(wanted, bool) and given == wanted",
        after="return given == wanted",
        test='tests/data/test_data.py::test_objects_are_the_same_if_json_says_so[wanted0-{"a": true}-0-1]',
        wrong="true counts as 1",
    ),
    Mutation(
        file=BATCHES,
        before='not in ("input_ids", "labels", "attention_mask")]',
        after='not in ("input_ids", "labels", "attention_mask", "position_ids")]',
        test="tests/data/test_data.py::test_what_makes_no_batch_is_named"
        "[examples5-0-ValueError-example 0 .* has 'position_ids']",
        wrong="positions of an example are dropped",
    ),
)
