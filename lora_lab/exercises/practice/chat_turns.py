"""Exercises 13, the first: a chat of several turns as ids and labels."""

import itertools
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

from lora_lab.exercises import required
from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.tasks import Wrong, task
from lora_lab.units import IGNORE

_Encode = Callable[[str], list[int]]
_Messages = list[dict[str, str]]


def _chat_example(messages: _Messages, encode: _Encode) -> tuple[list[int], list[int]]:
    ids: list[int] = []
    labels: list[int] = []
    for message in messages:
        head = encode(f"<|im_start|>{message['role']}\n")
        body, tail = encode(message["content"] + "<|im_end|>"), encode("\n")
        ids += head + body + tail
        written = body if message["role"] == "assistant" else [IGNORE] * len(body)
        labels += [IGNORE] * len(head) + written + [IGNORE] * len(tail)
    return ids, labels


_SPECIAL = {"<|im_start|>": 1, "<|im_end|>": 2}
_WORDS = ("swan", "goat", "boat", "inn", "red", "two", "mill", "owl")


def _encode(text: str) -> list[int]:
    """A character is a token, and so is each special word."""
    if not isinstance(text, str):
        raise Wrong(f"encode was handed a {type(text).__name__}, and it takes a text")
    parts = re.split(r"(<\|im_start\|>|<\|im_end\|>)", text)
    return [token for part in parts for token in ([_SPECIAL[part]] if part in _SPECIAL else map(ord, part))]


def _decode(ids: Sequence[int]) -> str:
    names = {number: name for name, number in _SPECIAL.items()}
    return "".join(names.get(each) or (chr(each) if 0 <= each < 0x11000 else "?") for each in ids)


@task(reference=lambda: _chat_example)
def chat_example(chat_example: Any) -> None:
    """ChatML, and labels on what the assistant writes alone: its contents and their end tokens."""
    for messages in _chats():
        handed = [dict(each) for each in messages]
        with untouched(messages=handed):
            found = chat_example(handed, _encode)
        ids, labels = required.several(found, 2, "two lists, the ids and the labels")
        ids, labels = required.whole_numbers(ids, "the ids"), required.whole_numbers(labels, "the labels")
        said = f"for a chat of {', '.join(each['role'] for each in messages)}"
        if len(ids) != len(labels):
            raise Wrong(f"{said} yours are {len(ids)} ids and {len(labels)} labels: a label for each id")
        wanted, learned = _by_regions(messages)
        if ids != wanted:
            raise Wrong(f"{said} {_why_ids(ids, messages)}", *near_difference(ids, wanted, _decode))
        right = [each if take else IGNORE for each, take in zip(wanted, learned)]
        if labels != right:
            raise Wrong(f"{said} {_why_labels(labels, messages)}", *near_difference(labels, right, _shown))


def near_difference(
    yours: Sequence[int], wanted: Sequence[int], text: Callable[[Sequence[int]], str], room: int = 24
) -> list[str]:
    """Two long lists from a little before their first difference to `room` after it, each as `text` shows it."""
    places = zip([*yours, None], [*wanted, None])  # one list may be the beginning of the other
    at = next((place for place, (one, other) in enumerate(places) if one != other), 0)
    begin, end = max(0, at - 4), at + room
    return ["…" * (begin > 0) + text(each[begin:end]) + "…" * (len(each) > end) for each in (yours, wanted)]


def _chats() -> list[_Messages]:
    """Chats of several shapes, and in each of the later ones something that a short cut gets wrong."""
    chats = [_chat(roles) for roles in ("ua", "sua", "suaua", "uaau", "uauaua")]
    _, _, repeating, with_edges, with_empty = chats
    repeating[1]["content"] = repeating[4]["content"]  # a user writes what an answer will be
    with_edges[1]["content"] = f"  {with_edges[1]['content']}\n\n"  # as code has them
    with_empty[3]["content"] = ""
    return chats


def _chat(roles: str) -> _Messages:
    contents = [" ".join(pair) for pair in random.sample(list(itertools.permutations(_WORDS, 2)), len(roles))]
    for number, role in enumerate(roles):
        if role == "u" and number % 2:
            contents[number] += "\nassistant\nyes"  # a user may write this too
    names = {"s": "system", "u": "user", "a": "assistant"}
    return [{"role": names[role], "content": content} for role, content in zip(roles, contents)]


def _shown(labels: Sequence[int]) -> str:
    return "".join("·" if each == IGNORE else _decode([each]) for each in labels)


_REGIONS = ("head", "content", "end", "break")


def _by_regions(messages: _Messages, *learned: tuple[str, str]) -> tuple[list[int], list[bool]]:
    """Ids, and whether each lies in one of the (role, region); by default in what an assistant writes."""
    chosen = learned or (("assistant", "content"), ("assistant", "end"))
    ids, flags = [], []
    for message in messages:
        role = message["role"]
        for region, text in zip(_REGIONS, (f"<|im_start|>{role}\n", message["content"], "<|im_end|>", "\n")):
            piece = _encode(text)
            ids += piece
            flags += [(role, region) in chosen] * len(piece)
    return ids, flags


def _why_ids(ids: list[int], messages: _Messages) -> str:
    text = _decode(ids)
    wanted = _decode(_by_regions(messages)[0])
    bare = _decode(_by_regions([{**each, "content": each["content"].strip()} for each in messages])[0])
    if text == bare != wanted:
        return "spaces and line breaks at the ends of a content are gone: a content goes in as it is"
    if text == wanted + "<|im_start|>assistant\n":
        return "yours ends with the head of an answer: that is for asking a model, not for teaching one"
    if text == wanted.removesuffix("\n"):
        return "the line break after the last <|im_end|> is missing: every message ends with one"
    if text == wanted.replace("<|im_end|>\n", "<|im_end|>"):
        return "the line breaks after <|im_end|> are missing"
    if text == wanted.replace("<|im_end|>", ""):
        return "no message has its <|im_end|>"
    if "<|im_end|>" not in text or text.count("<|im_end|>") < len(messages):
        return f"{text.count('<|im_end|>')} of {len(messages)} messages have their <|im_end|>"
    if text == re.sub(r"(<\|im_start\|>\w+)\n", r"\1", wanted):
        return "the line break between a role and its content is missing"
    if text == re.sub(r"(<\|im_start\|>\w+)\n", r"\1 ", wanted):
        return "a line break stands between a role and its content, no space"
    if text in ("<s>" + wanted, "\n" + wanted, wanted + "\n"):
        return "something stands before the first message or after the last that is not in the format"
    if len(text) < len(wanted) and text in wanted:
        return "a part of the chat is missing: every message goes into the ids, also those that are not learned"
    return "the text is not the format's: <|im_start|>, role, line break, content, <|im_end|>, line break"


def _why_labels(labels: list[int], messages: _Messages) -> str:
    ids, learned = _by_regions(messages)
    flags = [each != IGNORE for each in labels]
    a, last = "assistant", max(i for i, each in enumerate(messages) if each["role"] == "assistant")
    first = min(i for i, each in enumerate(messages) if each["role"] == "assistant")
    slips = {
        "everything carries loss: the model would learn to write its user's part": [True] * len(ids),
        "nothing carries loss": [False] * len(ids),
        "the end token of an answer carries no loss: the model would never learn to stop": _by_regions(
            messages, (a, "content")
        )[1],
        "the head of an answer carries loss: whoever asks the model writes it": _by_regions(
            messages, (a, "head"), (a, "content"), (a, "end")
        )[1],
        "the line break after <|im_end|> carries loss: the model has stopped by then": _by_regions(
            messages, (a, "content"), (a, "end"), (a, "break")
        )[1],
        "an answer's message carries loss as a whole: whoever asks writes its head, nobody its line break": _by_regions(
            messages, *((a, region) for region in _REGIONS)
        )[1],
        "the user's messages carry loss, the answers none: the other way round": _by_regions(
            messages, ("user", "content"), ("user", "end")
        )[1],
        "every message carries loss, a user's too: the model need not write what it is given": _by_regions(
            messages, *((role, region) for role in ("system", "user", a) for region in ("content", "end"))
        )[1],
        "the system's message carries loss too: it is given": _by_regions(
            messages, (a, "content"), (a, "end"), ("system", "content"), ("system", "end")
        )[1],
        "only the last answer carries loss: every answer is something that the model should write": _of_some(
            messages, {last}
        ),
        "only the first answer carries loss: every answer is something that the model should write": _of_some(
            messages, {first}
        ),
    }
    if flags == learned:
        return f"the right tokens carry loss, and their labels are not their ids; the others' label is {IGNORE}"
    for words, wrong in slips.items():
        if flags == wrong:
            return words
    if flags == _of_some(messages, {i for i, each in enumerate(messages) if each["content"]}):
        return "an answer without content carries no loss: its end token is what the model should learn to write there"
    by_user = _by_regions(messages, *((role, region) for role in ("system", "user") for region in _REGIONS))[1]
    if any(x and y for x, y in zip(flags, by_user)) and any(x and not y for x, y in zip(learned, flags)):
        return (
            "what a user writes carries loss in place of an answer: a user may write the same words, so go by "
            "messages, not by looking for text"
        )
    if flags == learned[1:] + [False] or labels == [*_labels(ids, learned)[1:], IGNORE]:
        return "the labels are one place early: the model shifts them itself, so a label stands at its own token"
    if all(b or not a for a, b in zip(learned, flags)):
        return "all that is learned carries loss, and more: a user may write the words of the format, so go by messages"
    wrong_at = next(i for i, (x, y) in enumerate(zip(flags, learned)) if x != y)
    return (
        f"token {wrong_at}, {_decode([ids[wrong_at]])!r}, is on the wrong side: contents of assistants and their ends"
    )


def _labels(ids: list[int], learned: list[bool]) -> list[int]:
    return [each if take else IGNORE for each, take in zip(ids, learned)]


def _of_some(messages: _Messages, which: set[int]) -> list[bool]:
    flags: list[bool] = []
    for number, message in enumerate(messages):
        ids, learned = _by_regions([message])
        flags += learned if number in which else [False] * len(ids)
    return flags
