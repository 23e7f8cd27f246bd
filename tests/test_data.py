"""The world, the tasks and the batches: split hygiene, exact scores, and what reaches the loss."""

import json
import random
import re

import pytest
import torch

from lora_lab import models
from lora_lab.data import corpus, tasks, world
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


def test_open_book_splits_share_no_person():
    task = tasks.open_book()
    names = [{json.loads(e.answer)["name"] for e in split} for split in (task.train, task.heldout)]
    assert not names[0] & names[1]


def test_the_cipher_is_one_to_one_and_no_word_stands_for_itself():
    code = {}
    for e in (*tasks.cipher(words=16).train, *tasks.cipher(words=16).heldout):
        for plain, secret in zip(e.prompt.removeprefix("In cipher: ").split(", "), e.answer.split(", "), strict=True):
            assert code.setdefault(plain, secret) == secret != plain
    assert len(code) == len(set(code.values())) == 16


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
    answers = [
        e.answer for make in tasks.TASKS.values() for e in (make(home) if make is tasks.closed_book else make()).train
    ]
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
