"""The world, the tasks and the batches: split hygiene, exact scores, and what reaches the loss."""

import hashlib
import json
import random
import re
from types import SimpleNamespace

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from lora_lab import models
from lora_lab.data import corpus, people, tasks, world
from lora_lab.data.batches import IGNORE, collate, encode_example, pack
from lora_lab.data.tasks import Example
from lora_lab.data.world import FACTS, FIELDS, World


@pytest.fixture(scope="module")
def tokenizer():
    return models.load_base("cpu")[1]


def test_the_same_seed_gives_the_same_world_and_another_seed_another():
    assert World.generate(0) == World.generate(0) != World.generate(1)


def test_the_worlds_people_are_told_apart_by_their_first_names():
    people = World.generate(0).people
    assert len({person.first_name for person in people}) == len(people) == 64


def test_no_name_belongs_to_two_populations_and_each_has_its_share():
    rng = random.Random(0)
    groups = [world.population(world.random_name(rng)) for _ in range(4000)]
    assert 0.87 < groups.count("pretrain") / 4000 < 0.93
    for group in ("pretrain", "train", "heldout"):
        assert world.population(world.stranger(rng, group).name) == group
    with pytest.raises(ValueError, match="'test'"):
        world.stranger(rng, "test")


def test_a_passage_holds_every_fact_of_its_person():
    rng = random.Random(1)
    for _ in range(50):
        person = world.stranger(rng, "pretrain")
        text = world.passage(person, rng)
        assert all(person.fact(field) in text for field in FIELDS)


def test_pretraining_says_nothing_about_a_person_reserved_for_the_tasks():
    rng, home = random.Random(2), World.generate(0)
    kinds = {kind: 1.0 for kind in corpus.KINDS if kind != "dictation"}  # its random words may spell a reserved name
    text = "".join(corpus.draw(home, rng, kinds) for _ in range(6000))
    named = {" ".join(pair) for pair in re.findall(r"(?=\b([A-Z][a-z]+) ([A-Z][a-z]+)\b)", text)}
    assert len(named) > 1000 and {world.population(name) for name in named} == {"pretrain"}


@pytest.mark.parametrize("name", tasks.TASKS)
def test_splits_share_no_prompt_and_the_same_seed_gives_the_same_task(name):
    make = {"closed_book": lambda seed: tasks.closed_book(World.generate(0), seed)}.get(
        name, lambda seed: tasks.TASKS[name](seed=seed)
    )
    task = make(0)
    train, heldout = {e.prompt for e in task.train}, {e.prompt for e in task.heldout}
    assert train and heldout and not train & heldout
    assert task.train == make(0).train != make(1).train
    assert task.score(task.heldout, [e.answer for e in task.heldout])["exact"] == 1
    assert all(score == 0 for score in task.score(task.heldout, ["" for _ in task.heldout]).values())


def made(name: str, seed: int, **sizes: int) -> tasks.Task:
    """A task by its name, with at most these sizes."""
    if name == "closed_book":
        return tasks.closed_book(World.generate(seed, people=4 + sizes["train"] % 40), seed)
    if name == "new_facts":
        return tasks.new_facts(1 + sizes["train"] % 40, seed)
    return tasks.TASKS[name](seed=seed, **sizes)


def subjects(name: str, examples: list[Example]) -> set[str]:
    """What no two splits may share: a person, a list of words, or a question as it is worded."""
    if name in ("open_book", "closed_book"):
        return {json.loads(e.answer)["name"] for e in examples}
    if name == "sailor":
        return {e.facts[0] for e in examples}
    if name == "sentence":
        return {re.search(r"[A-Z][a-z]+ [A-Z][a-z]+", e.answer).group() for e in examples}
    return {e.prompt for e in examples}


@pytest.mark.parametrize("name", tasks.TASKS)
@settings(max_examples=15, phases=[Phase.generate])  # shrinking a task takes minutes
@given(seed=st.integers(0, 10**6), train=st.integers(1, 150), heldout=st.integers(1, 20), validation=st.integers(1, 40))
def test_no_two_splits_share_a_subject(name, seed, train, heldout, validation):
    task = made(name, seed, train=train, heldout=heldout, validation=validation)
    splits = [subjects(name, split) for split in (task.train, task.validation, task.heldout)]
    assert all(splits) and sum(map(len, splits)) == len(set.union(*splits))
    prompts = [{e.prompt for e in split} for split in (task.train, task.validation, task.heldout, task.retention)]
    assert sum(map(len, prompts)) == len(set.union(*prompts))
    assert task.score(task.validation, [e.answer for e in task.validation])["exact"] == 1


def digest(examples: list[Example]) -> str:
    rows = [[e.prompt, e.answer, list(e.facts)] for e in examples]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:12]


@pytest.mark.parametrize(
    ("name", "train", "heldout"),
    [
        ("open_book", "6c3c066e0a8c", "58c5add1a61a"),
        ("sentence", "a9e5ca6fd5db", "fe0a10449216"),
        ("sailor", "7238ea5813d7", "a52705f16f5f"),
        ("cipher", "2e3aae7f3ffa", "4f50a6707559"),
        ("new_facts", "a7effbe37efb", "7dbac3b6941e"),
        ("closed_book", "84b93d82b620", "23eacdf779d6"),
    ],
)
def test_the_examples_that_recorded_runs_trained_on_stay_what_they_are(name, train, heldout):
    task = tasks.closed_book(World.generate(0)) if name == "closed_book" else tasks.TASKS[name]()
    assert (digest(task.train), digest(task.heldout), digest(task.retention)) == (train, heldout, "031252031d39")


@pytest.mark.parametrize(
    ("name", "validation"),
    [
        ("open_book", "47b3692c3fd8"),
        ("sentence", "26580b3ebb2f"),
        ("sailor", "4d1ac2ef5ffe"),
        ("cipher", "b41c3834bb53"),
        ("new_facts", "b2c67411296d"),
        ("closed_book", "1b900bf3642c"),
    ],
)
def test_the_examples_that_recorded_runs_were_stopped_by_stay_what_they_are(name, validation):
    task = tasks.closed_book(World.generate(0)) if name == "closed_book" else tasks.TASKS[name]()
    assert digest(task.validation) == validation


def test_validation_draws_nothing_from_the_other_splits():
    with_it, without = tasks.open_book(20, 5, 3, validation=7), tasks.open_book(20, 5, 3, validation=0)
    assert len(with_it.validation) == 7 and without.validation == []
    assert (with_it.train, with_it.heldout) == (without.train, without.heldout)


def test_closed_book_validates_on_an_eighth_of_the_people():
    task = tasks.closed_book(World.generate(0))
    people = [subjects("closed_book", split) for split in (task.train, task.validation, task.heldout)]
    assert list(map(len, people)) == [24, 8, 32] and len(set.union(*people)) == 64


def test_people_to_validate_on_are_of_the_training_population():
    names = subjects("open_book", tasks.open_book(5, 5, validation=50).validation)
    assert len(names) > 45 and {world.population(name) for name in names} == {"train"}


@pytest.mark.parametrize("name", ["open_book", "sentence", "sailor", "cipher"])
def test_training_that_leaves_nobody_to_validate_on_is_refused(name, monkeypatch):
    few = {"Mara Verlin", "Tara Verlin"}
    monkeypatch.setattr(people, "random_name", lambda rng: rng.choice(sorted(few)))
    monkeypatch.setattr(people, "population", lambda name: "train" if name in few else "pretrain")
    monkeypatch.setattr(people, "names", lambda group: few)
    monkeypatch.setattr(tasks, "reading", lambda seed: [])
    options = {"words": 8, "train": 40_000} if name == "cipher" else {"train": 100}
    with pytest.raises(ValueError, match="hardly any to validate on: train on fewer, or validation=0"):
        tasks.TASKS[name](heldout=1, **options)


def test_the_cipher_is_one_to_one_and_no_word_stands_for_itself():
    code = {}
    for e in (*tasks.cipher(words=16).train, *tasks.cipher(words=16).heldout):
        for plain, secret in zip(e.prompt.removeprefix("In cipher: ").split(", "), e.answer.split(", "), strict=True):
            assert code.setdefault(plain, secret) == secret != plain
    assert len(code) == len(set(code.values())) == 16


@pytest.mark.parametrize("seed", range(0, 600, 4))
def test_a_cipher_of_words_of_one_parity_ends(seed):
    task = tasks.cipher(1, 1, seed, words=8, validation=1)
    assert len({task.train[0].prompt, task.heldout[0].prompt, task.validation[0].prompt}) == 3


# ---- draws end, and sizes have ranges ------------------------------------------------------------------------------


class Monotonous(random.Random):
    """A source that always chooses the first."""

    def choice(self, values):
        return values[0]


@pytest.mark.parametrize("group", world.GROUPS)
def test_a_stranger_is_found_even_where_chance_is_no_help(group):
    assert world.population(world.stranger(Monotonous(), group).name) == group


def test_the_populations_hold_every_name_there_is():
    rng = random.Random(5)
    populations = [world.names(group) for group in world.GROUPS]
    everybody = frozenset.union(*populations)
    assert sum(map(len, populations)) == len(everybody)
    assert all(world.random_name(rng) in everybody for _ in range(500))


def test_a_world_may_use_every_first_name_and_none_more():
    most = len({first for name in world.names("pretrain") for first in name.split()[:1]})
    assert len(World.generate(0, people=most, places=50).people) == most
    with pytest.raises(ValueError, match=f"people={most + 1}: choose from 1 to {most}"):
        World.generate(0, people=most + 1)
    with pytest.raises(ValueError, match="places=2001: choose from 1 to"):
        World.generate(0, places=2001)


def test_more_new_facts_than_names_are_refused():
    most = len(world.names("train"))
    with pytest.raises(ValueError, match=f"people={most + 1}: choose from 1 to {most}"):
        tasks.new_facts(most + 1)


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (World.generate, ("seed", "people", "places")),
        (tasks.open_book, ("train", "heldout", "seed", "validation")),
        (tasks.sentence, ("train", "heldout", "seed", "validation")),
        (tasks.sailor, ("train", "heldout", "seed", "validation")),
        (tasks.cipher, ("train", "heldout", "seed", "words", "validation")),
        (tasks.new_facts, ("people", "seed")),
        (tasks.reading, ("n", "seed")),
        (lambda **options: tasks.closed_book(World.generate(0), **options), ("seed",)),
    ],
)
@pytest.mark.parametrize("value", [-1, 2.5, True, "3", float("nan")])
def test_a_size_is_a_whole_number_in_its_range(make, names, value):
    for name in names:
        with pytest.raises(ValueError if value == -1 and value is not True else TypeError, match=f"{name}="):
            make(**{name: value})


def test_a_world_too_small_to_be_split_is_refused():
    with pytest.raises(ValueError, match="world of 3 people"):
        tasks.closed_book(World.generate(0, people=3))


def test_json_scores_judge_the_object_not_its_spelling():
    record = {"name": "Mara Verlin", "born": 1957, "town": "Ordeby", "job": "baker", "pet": "goat", "colour": "red"}
    example = Example("", json.dumps(record))
    cases = [
        (json.dumps(dict(reversed(record.items())), indent=2), 1, 1, 1),
        (json.dumps({**record, "pet": "cat"}), 0, 1, 5 / 6),
        (json.dumps({**record, "age": 3}), 0, 1, 1),
        (json.dumps({**record, "born": "1957"}), 0, 1, 5 / 6),
        ("[1]", 0, 0, 0),
        ("{", 0, 0, 0),
        ("", 0, 0, 0),
    ]
    for answer, exact, valid, fields in cases:
        assert tasks.score_json([example], [answer]) == {
            "exact": exact,
            "valid": valid,
            "fields": pytest.approx(fields),
        }


@pytest.mark.parametrize(
    ("wanted", "answer", "exact", "valid"),
    [
        ({"a": 1}, '{"a": true}', 0, 1),
        ({"a": True}, '{"a": 1}', 0, 1),
        ({"a": [0, {"b": 1}]}, '{"a": [false, {"b": 1}]}', 0, 1),
        ({"a": [0, {"b": 1}]}, '{"a": [0, {"b": 1.0}]}', 1, 1),
        ({"born": 1980}, '{"born": 1980.0}', 1, 1),
        ({"a": 1}, '{"a": 2, "a": 1}', 0, 0),
        ({"a": 1}, '{"a": 1, "b": NaN}', 0, 0),
        ({"a": 1}, '{"a": Infinity}', 0, 0),
        ({"a": 1}, "[" * 100_000, 0, 0),
        ({"a": 1}, '{"a":' * 100_000, 0, 0),
        ({"a": 1}, '{"a": ' + "9" * 5000 + "}", 0, 0),
    ],
)
def test_objects_are_the_same_if_json_says_so(wanted, answer, exact, valid):
    scores = tasks.score_json([Example("", json.dumps(wanted))], [answer])
    assert scores == {"exact": exact, "valid": valid, "fields": exact}


def test_list_scores_want_each_word_in_its_place():
    score = tasks.score_list([Example("", "lamp, chair, door")], ["chair, lamp, door"])
    assert score == {"exact": 0, "words": pytest.approx(1 / 3)}
    assert tasks.score_list([Example("", "lamp, chair")], ["lamp"]) == {"exact": 0, "words": 0.5}


def test_sailor_scores_separate_facts_from_style():
    example = Example("", "Ahoy! Mara Verlin be in Ordeby, aye!", ("Mara Verlin", "Ordeby"))
    assert tasks.score_sailor([example], ["Ahoy! Mara Verlin be in Veriby, aye!"]) == {
        "exact": 0,
        "facts": 0,
        "style": 1,
    }
    assert tasks.score_sailor([example], ["Mara Verlin lives in Ordeby."]) == {"exact": 0, "facts": 1, "style": 0}


def test_scores_want_one_answer_per_example():
    for score in (tasks.score_exact, tasks.score_json, tasks.score_list, tasks.score_sailor):
        with pytest.raises(ValueError):
            score([Example("", "1")], [])
        with pytest.raises(ValueError, match="nothing to score"):
            score([], [])


def test_every_token_of_every_answer_was_trained_often_in_pretraining(tokenizer):
    """An adapter leaves the embeddings alone, so it cannot write a token that pretraining never wrote."""
    rng, home = random.Random(3), World.generate(0)
    counts = torch.zeros(len(tokenizer), dtype=torch.long)
    for _ in range(20_000):
        ids = tokenizer(corpus.draw(home, rng, corpus.EARLY), add_special_tokens=False)["input_ids"]
        counts += torch.bincount(torch.tensor(ids), minlength=len(tokenizer))
    made = [make(home) if make is tasks.closed_book else make() for make in tasks.TASKS.values()]
    answers = [e.answer for task in made for e in (*task.train, *task.validation)]
    answers += [e.prompt for e in tasks.new_facts().validation]  # the only prompts in a wording of their own
    used = {i for ids in tokenizer(answers, add_special_tokens=False)["input_ids"] for i in ids}
    rare = {tokenizer.convert_ids_to_tokens(i): int(counts[i]) for i in used if counts[i] < 10}
    assert not rare


def test_the_chat_template_writes_what_pretraining_read(tokenizer):
    turns = [("Where?", "Here"), ("When?", "Now")]
    messages = [
        m for user, said in turns for m in ({"role": "user", "content": user}, {"role": "assistant", "content": said})
    ]
    assert tokenizer.apply_chat_template(messages, tokenize=False) == corpus.conversation(turns)


def test_only_the_answer_and_its_end_carry_loss(tokenizer):
    example = encode_example(tokenizer, "Where does she live?", "Ordeby")
    kept = [i for i, label in zip(example["input_ids"], example["labels"]) if label != IGNORE]
    assert tokenizer.decode(kept) == "Ordeby<|end|>"
    assert all(label in (IGNORE, i) for i, label in zip(example["input_ids"], example["labels"]))


def test_padding_is_masked_and_without_loss():
    batch = collate([{"input_ids": [5, 6, 7], "labels": [IGNORE, 6, 7]}, {"input_ids": [5], "labels": [5]}], pad_id=0)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [5, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [[IGNORE, 6, 7], [5, IGNORE, IGNORE]]


def test_packing_cuts_no_document_and_refuses_one_that_does_not_fit():
    documents = iter([[1] * 3, [2] * 4, [3] * 5, [4] * 6])
    batch = pack(lambda: next(documents), rows=2, length=8, pad_id=0)
    assert batch["input_ids"].tolist() == [[1] * 3 + [2] * 4 + [0], [3] * 5 + [0] * 3]
    assert (batch["labels"] == torch.where(batch["input_ids"] > 0, batch["input_ids"], IGNORE)).all()
    with pytest.raises(ValueError, match="9 tokens does not fit a window of 8"):
        pack(lambda: [1] * 9, rows=1, length=8, pad_id=0)


def test_a_window_may_be_filled_to_its_last_token():
    batch = pack(lambda: [5] * 4, rows=2, length=8, pad_id=0)
    assert batch["input_ids"].tolist() == [[5] * 8] * 2


@pytest.mark.parametrize(
    ("options", "words"),
    [({"rows": 0}, "rows=0"), ({"length": 0}, "length=0"), ({"pad_id": None}, "no pad token"), ({}, "has no tokens")],
)
def test_packing_that_would_never_end_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        pack(lambda: [], **{"rows": 2, "length": 8, "pad_id": 0, **options})


@pytest.mark.parametrize(
    ("examples", "pad", "error", "words"),
    [
        ([], 0, ValueError, "no examples"),
        ([{"input_ids": [1], "labels": [1]}], None, ValueError, "no pad token: .*pad_id=tokenizer.eos_token_id"),
        ([{"input_ids": [1], "labels": [1]}], 1.0, TypeError, "pad_id=1.0"),
        ([{"input_ids": [1], "labels": [1, 2]}], 0, ValueError, "example 0 of the batch has 1 input_ids but 2 labels"),
        ([{"input_ids": torch.tensor([1]), "labels": [1]}], 0, TypeError, "Tensor"),
        ([{"input_ids": [1], "labels": [1], "position_ids": [3]}], 0, ValueError, "example 0 .* has 'position_ids'"),
        ([{"input_ids": [1], "labels": [1], "attention_mask": None}], 0, TypeError, "attention_mask are a NoneType"),
        ([{"input_ids": [1], "labels": [1], "attention_mask": [1, 1]}], 0, ValueError, "give a 1 per token"),
        ([{"input_ids": [1], "labels": [1], "attention_mask": [2]}], 0, ValueError, "give a 1 per token"),
    ],
)
def test_what_makes_no_batch_is_named(examples, pad, error, words):
    with pytest.raises(error, match=words):
        collate(examples, pad)


def test_a_mask_that_masks_nothing_may_stand_in_an_example():
    batch = collate([{"input_ids": [1, 2], "labels": [1, 2], "attention_mask": [1, 1]}], 0)
    assert batch["attention_mask"].tolist() == [[1, 1]]


def test_a_tokenizer_without_an_end_token_is_refused():
    with pytest.raises(ValueError, match="no end token"):
        encode_example(SimpleNamespace(eos_token=None), "Where?", "Here")


def test_recall_prompts_are_finished_by_their_endings():
    home = World.generate(0)
    facts = home.facts()
    assert len(facts) == len(home.people) * len(FACTS)
    person = home.people[0]
    for field in FACTS:
        said = [world.state(person, field, "full", wording) for wording in range(4)]
        assert "".join(world.recall_prompt(person, field)) in said  # a sentence that pretraining has
        beginnings = [
            world.state(person, other, "full", wording) for other in FACTS if other != field for wording in range(4)
        ]
        assert not any(
            text.startswith(world.recall_prompt(person, field)[0]) for text in beginnings
        )  # and no other fact's
