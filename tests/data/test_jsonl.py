"""Prompts and answers of one's own: what a file may hold, what is said of a bad line, and splits that share nothing."""

import gzip
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_lab.data import jsonl
from lora_lab.data.jsonl import BadLines, Line

GOOD = '{"prompt": "p", "answer": "a"}'


def write(folder, *lines, end="\n", encoding="utf-8", name="data.jsonl"):
    path = folder / name
    path.write_bytes((end.join(lines) + end).encode(encoding))
    return path


def lines(*prompts, file="data.jsonl"):
    return [Line(prompt, "a", file=file, number=i + 1) for i, prompt in enumerate(prompts)]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_blank_lines_bom_and_line_ends_change_nothing_but_the_numbers(tmp_path, end, encoding):
    path = write(tmp_path, GOOD, "", "  ", '{"prompt": "Größe?", "answer": " x\\u2028y "}', end=end, encoding=encoding)
    assert jsonl.read(path).examples == [
        Line("p", "a", file="data.jsonl", number=1),
        Line("Größe?", " x\u2028y ", file="data.jsonl", number=4),
    ]


def test_a_separator_within_a_string_does_not_end_a_line(tmp_path):
    path = write(tmp_path, json.dumps({"prompt": "a\u2028b\x85c", "answer": "d"}, ensure_ascii=False), GOOD)
    assert [example.number for example in jsonl.read(path).examples] == [1, 2]


def test_the_last_line_needs_no_end(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text(GOOD)
    assert len(jsonl.read(path).examples) == 1


def test_further_keys_are_counted_and_not_used(tmp_path):
    path = write(tmp_path, GOOD, '{"prompt": "q", "answer": "b", "id": 1}', '{"id": 2, "answer": "c", "prompt": "r"}')
    assert jsonl.read(path).unused == {"id": 2}


def test_the_hash_is_of_the_bytes(tmp_path):
    one, other = (jsonl.read(write(tmp_path, GOOD, end=end)).sha256 for end in ("\n", "\r\n"))
    assert len(one) == 64 and one != other


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"prompt', "no JSON"),
        ("prompt,answer", "no JSON"),
        ('{"prompt": "p", "answer": "a"},', "no JSON"),
        ("{'prompt': 'p', 'answer': 'a'}", "no JSON"),
        ('["p", "a"]', "no JSON|a list, where an object with prompt and answer is wanted"),
        ('"p"', "a string, where an object"),
        ("3", "a number, where"),
        ("null", "null, where"),
        ("true", "true or false, where"),
        ("{}", "no 'prompt'$"),
        ('{"prompt": "p"}', "no 'answer'$"),
        ('{"prompt": "p", "anwser": "a"}', "no 'answer', but 'anwser': rename it"),
        ('{"Prompt": "p", "answer": "a"}', "no 'prompt', but 'Prompt': rename it"),
        ('{"prompt": "p", "completion": "a"}', "no 'answer', but 'completion': rename it"),
        ('{"instruction": "p", "output": "a"}', "no 'prompt', but 'instruction': rename it"),
        ('{"messages": []}', "no 'prompt', but 'messages': write the user's message as prompt"),
        ('{"prompt": "p", "answer": ""}', "answer is empty"),
        ('{"prompt": " \\n", "answer": "a"}', "prompt is empty"),
        ('{"prompt": "p", "answer": 3}', "answer is a number: write it as a string"),
        ('{"prompt": "p", "answer": true}', "answer is true or false"),
        ('{"prompt": "p", "answer": null}', "answer is null"),
        ('{"prompt": "p", "answer": {"a": 1}}', "answer is an object: write it as a string of JSON"),
        ('{"prompt": ["p"], "answer": "a"}', "prompt is a list"),
        ('{"prompt": "p", "answer": "a", "answer": "b"}', "'answer' stands there twice"),
        ('{"prompt": "p", "answer": "a", "score": NaN}', "NaN is no number in JSON"),
        ('{"prompt": "p", "answer": "\\ud83d"}', r"answer has half of a character, \\ud83d"),
        ("[" * 10**5, "nested too deeply|no JSON"),
    ],
)
def test_a_bad_line_is_named_by_its_number_with_what_is_wrong(tmp_path, line, words):
    path = write(tmp_path, GOOD, line)
    with pytest.raises(BadLines, match=words) as caught:
        jsonl.read(path)
    [problem] = caught.value.problems
    assert (problem.file, problem.number) == ("data.jsonl", 2) and "\n" not in str(caught.value)
    assert str(caught.value).startswith("one line cannot be used: data.jsonl, line 2: ")


def test_a_byte_that_is_not_utf_8_is_named_with_its_line(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_bytes(GOOD.encode() + b'\n{"prompt": "Gr\xf6\xdfe", "answer": "a"}\n')
    with pytest.raises(BadLines, match="data.jsonl, line 2: byte 15 is not UTF-8: save the file as UTF-8"):
        jsonl.read(path)


def test_all_bad_lines_are_counted_and_the_first_five_shown(tmp_path):
    path = write(tmp_path, *[GOOD, "{"] * 7)
    with pytest.raises(BadLines) as caught:
        jsonl.read(path)
    said = str(caught.value)
    assert said.startswith("7 lines cannot be used: ") and said.endswith("; and 2 more")
    assert [number in said for number in ("line 2:", "line 10:", "line 12:")] == [True, True, False]
    assert [problem.number for problem in caught.value.problems] == [2, 4, 6, 8, 10, 12, 14]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has no lines"),
        (b"\n \r\n", "has no lines"),
        (b"\xef\xbb\xbf", "has no lines"),
        (GOOD.encode("utf-16"), "is in UTF-16: save it as UTF-8"),
        (gzip.compress(GOOD.encode(), mtime=0), "is compressed: unpack it"),
        (b"PAR1\x15\x04", "is a Parquet file"),
        (b'{\n "prompt": "p",\n "answer": "a"\n}\n', "as JSON over several lines: write each object on one line"),
        (b'[\n{"prompt": "p", "answer": "a"}\n]', "as one JSON array: write one object a line"),
    ],
)
def test_another_format_is_one_sentence_and_not_a_list_of_lines(tmp_path, content, words):
    (tmp_path / "data.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        jsonl.read(tmp_path / "data.jsonl")
    assert not isinstance(caught.value, BadLines)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("x" * 300, "cannot be read .File name too long"),
        ("none.jsonl", "no none.jsonl in"),
        ("", "is a folder|names no file"),
        ("-", "standard input"),
    ],
)
def test_a_file_that_is_none_is_one_sentence(tmp_path, name, words):
    with pytest.raises((ValueError, OSError), match=words):
        jsonl.read(name if name == "-" else tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="is no file that can be read"):
        jsonl.read(tmp_path / "pipe")


# ---- splits --------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.integers(20, 400), st.integers(0, 3), st.integers(1, 4))
def test_splits_share_no_prompt_and_lose_no_line(n, seed, repeats):
    given_lines = lines(*[f"p{i % max(20, n // repeats)}{' ' * (i % 2)}" for i in range(n)])
    splits = jsonl.split(given_lines, seed=seed)
    parts = [splits.train, splits.validation, splits.heldout]
    assert sorted(example.number for part in parts for example in part) == list(range(1, n + 1))
    prompts = [{example.prompt.strip() for example in part} for part in parts]
    assert all(prompts) and not (prompts[0] & prompts[1] or prompts[0] & prompts[2] or prompts[1] & prompts[2])
    assert len(prompts[1]) == len(prompts[2]) <= len(prompts[0])


@pytest.mark.parametrize(("prompts", "each"), [(20, 4), (40, 8), (60, 8), (100, 10), (1000, 100), (5000, 200)])
def test_a_tenth_is_taken_for_each_but_of_few_a_fifth_and_200_at_most(prompts, each):
    splits = jsonl.split(lines(*map(str, range(prompts))))
    assert (len(splits.validation), len(splits.heldout), len(splits.train)) == (each, each, prompts - 2 * each)


def test_the_seed_chooses_the_splits():
    given_lines = lines(*map(str, range(50)))
    assert jsonl.split(given_lines, seed=1) == jsonl.split(given_lines, seed=1) != jsonl.split(given_lines, seed=2)


def test_files_of_ones_own_are_taken_as_they_are_and_nothing_is_taken_for_them():
    validation, heldout = lines("v", file="v.jsonl"), lines("h", file="h.jsonl")
    few = lines("a", "b")
    splits = jsonl.split(few, validation, heldout)
    assert (splits.train, splits.validation, splits.heldout) == (few, validation, heldout)
    splits = jsonl.split(lines(*map(str, range(40))), None, heldout)
    assert (len(splits.train), len(splits.validation), splits.heldout) == (32, 8, heldout)


@pytest.mark.parametrize("options", [{}, {"heldout": lines("h", file="h")}, {"validation": lines("v", file="v")}])
def test_too_few_lines_are_one_sentence_with_the_least_number(options):
    with pytest.raises(ValueError, match="19 different prompts are too few .* give at least 20"):
        jsonl.split(lines(*[str(i) for i in range(19)], "0", "1 "), **options)


def test_a_prompt_in_two_files_is_refused_by_its_lines():
    with pytest.raises(BadLines, match="v.jsonl, line 2: the same prompt as data.jsonl, line 1, so") as caught:
        jsonl.split(lines("a", "b", "a"), lines("c", " a", file="v.jsonl"), lines("d", "c", file="h.jsonl"))
    assert [str(problem)[:15] for problem in caught.value.problems] == ["v.jsonl, line 2", "h.jsonl, line 2"]
