"""Exercises 12, the first and second: a loss on answers alone, and a verdict on JSON."""

import json
import math
import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lora_lab.disk import parse_json
from lora_lab.exercises import required
from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.tasks import Wrong, task
from lora_lab.units import IGNORE


def _loss_on_answers(logits: Tensor, ids: Tensor, prompt: Sequence[int], length: Sequence[int]) -> Tensor:
    place = torch.arange(ids.shape[1])
    is_answer = (place >= torch.tensor(prompt)[:, None]) & (place < torch.tensor(length)[:, None])
    labels = ids.masked_fill(~is_answer, IGNORE)
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


def _judged(answer: str, wanted: str) -> str:
    try:
        given = parse_json(answer)
    except ValueError:
        return "not valid"
    if not isinstance(given, dict):
        return "not valid"
    return "exact" if _same(given, parse_json(wanted)) else "valid"


def _same(given: object, wanted: object) -> bool:
    if isinstance(given, dict) and isinstance(wanted, dict):
        return given.keys() == wanted.keys() and all(_same(given[key], wanted[key]) for key in wanted)
    if isinstance(given, list) and isinstance(wanted, list):
        return len(given) == len(wanted) and all(map(_same, given, wanted))
    return isinstance(given, bool) == isinstance(wanted, bool) and given == wanted


@task(reference=lambda: _loss_on_answers)
def loss_on_answers(loss_on_answers: Any) -> None:
    """The mean over all answer tokens of a padded batch, each predicted one place before it stands."""
    for rows, vocabulary in ((2, 7), (3, 11), (1, 5)):
        prompt = [random.randint(3, 5) for _ in range(rows)]
        length = [before + answer for before, answer in zip(prompt, random.sample(range(2, 8), rows))]
        end = vocabulary - 1  # pads too, as in many tokenizers
        ids = torch.full((rows, max(length) + max(prompt) + 2), end)
        for row, (first, last) in enumerate(zip(prompt, length)):
            ids[row, : last - 1] = torch.randint(end, (last - 1,))
            ids[row, first - 1] = end  # the turn before an answer ends as well
        logits = torch.randn(*ids.shape, vocabulary)
        given = logits.clone().requires_grad_()
        handed = {"ids": ids.clone(), "prompt": list(prompt), "length": list(length)}
        with untouched(logits=given, **handed):
            found = loss_on_answers(given, *handed.values())
        if isinstance(found, (int, float)):
            raise Wrong("yours gives a plain number, and no gradient can flow back from it: return the tensor")
        loss = required.tensor(found, "the loss", ())
        wanted = _by_hand(logits, ids, prompt, length)
        if not math.isclose(float(loss.detach()), wanted, rel_tol=1e-4):
            raise Wrong(
                _why_loss(float(loss.detach()), logits, ids, prompt, length), yours=loss.detach(), wanted=wanted
            )
        if not loss.requires_grad:
            raise Wrong("the loss is right, and no gradient flows back to the logits: is it detached, or made anew?")
        loss.backward()
        if given.grad is None or not bool(given.grad[0, prompt[0] - 1].any()):
            raise Wrong("the loss is right, and its gradient does not reach the logits that predict the answer")


def _costs(logits: Tensor, ids: Tensor) -> Tensor:
    """−log p of the token at place t, by the scores at place t − 1; the first one's is nan."""
    costs = torch.full(ids.shape, math.nan, dtype=torch.float64)
    for row in range(ids.shape[0]):
        for t in range(1, ids.shape[1]):
            scores = logits[row, t - 1].double()
            costs[row, t] = scores.logsumexp(0) - scores[ids[row, t]]
    return costs


def _by_hand(logits: Tensor, ids: Tensor, prompt: list[int], length: list[int]) -> float:
    costs = _costs(logits, ids)
    answers = torch.cat([costs[row, first:last] for row, (first, last) in enumerate(zip(prompt, length))])
    return float(answers.mean())


def _why_loss(found: float, logits: Tensor, ids: Tensor, prompt: list[int], length: list[int]) -> str:
    costs, spans = _costs(logits, ids), list(zip(prompt, length))
    here = -logits.double().log_softmax(-1).gather(-1, ids[..., None]).squeeze(-1)
    later = -logits[:, 1:].double().log_softmax(-1).gather(-1, ids[:, :-1, None]).squeeze(-1)
    end = ids.max()

    def over(values: Tensor, first: int, last: int) -> list[Tensor]:
        return [values[row, a + first : b + last] for row, (a, b) in enumerate(spans)]

    answers = over(costs, 0, 0)
    everything = [costs[row, 1:b] for row, b in enumerate(length)]
    padded = [costs[row, a:] for row, a in enumerate(prompt)]
    by_id = costs[:, 1:][ids[:, 1:] != end]
    slips = {
        "it is the mean of the examples' means, so a token of a short answer counts for more: add all answer tokens, "
        "then divide once": torch.stack([each.mean() for each in answers]).mean(),
        "it is the sum: divide by the number of answer tokens": torch.cat(answers).sum(),
        "it is divided by the number of examples: by the number of answer tokens": torch.cat(answers).sum() / len(ids),
        "the sum is right, and divided by all places of the batch: only answer tokens count": torch.cat(answers).sum()
        / ids.numel(),
        "the sum is right, and divided by all places that predict something: only answer tokens count": torch.cat(
            answers
        ).sum()
        / (ids.numel() - len(ids)),
        "scores predict the *next* token, and yours compares them with the token at their own place": torch.cat(
            over(here, 0, 0)
        ).mean(),
        "scores, tokens and mask are moved the wrong way: the scores at place t predict the token at t + 1": torch.cat(
            over(later, -1, -1)
        ).mean(),
        "the scores are moved the wrong way: those at place t predict the token at t + 1": torch.cat(
            over(later, 0, 0)
        ).mean(),
        "the prompt is in it too: the model need not learn to write what it is given": torch.cat(everything).mean(),
        "padding is in it: an example ends at its `length`": torch.cat(padded).mean(),
        "prompt and padding are in it: only answer tokens count": costs[:, 1:].mean(),
        "`length` counts from the beginning of the row, the prompt too: it is the place after the answer": torch.cat(
            [costs[row, a : a + b] for row, (a, b) in enumerate(spans)]
        ).mean(),
        "it is minus the logarithm of the mean probability: take the logarithm token by token, then the mean": (
            -torch.cat([(-each).exp() for each in answers]).mean().log()
        ),
        "the end token of each answer is left out, and without it a model does not learn to stop": torch.cat(
            over(costs, 0, -1)
        ).mean(),
        "the first answer token is left out: it is predicted at the last place of the prompt": torch.cat(
            over(costs, 1, 0)
        ).mean(),
        "the mask is one place late: it belongs to the predicted tokens, so shift it with them": torch.cat(
            over(costs, 1, 1)
        ).mean(),
        "the mask is one place early: it belongs to the predicted tokens, so shift it with them": torch.cat(
            over(costs, -1, -1)
        ).nanmean(),
        "the last token of the prompt is in it: the answer begins at place `prompt`": torch.cat(
            over(costs, -1, 0)
        ).nanmean(),
        "tokens are left out by their id, and padding has the same id as a true end: go by place": by_id.mean()
        if len(by_id)
        else torch.tensor(math.nan),
    }
    for words, value in slips.items():
        if math.isclose(found, float(value), rel_tol=1e-5):
            return f"the loss is off: {words}"
    chances = [(-row[a:b]).exp() for row, (a, b) in zip(costs, spans)]
    if any(math.isclose(abs(found), float(x), rel_tol=1e-5) for p in [torch.cat(chances).mean()] for x in (p, 1 - p)):
        return "the loss is off: it is a mean of probabilities, and wanted is that of minus their logarithms"
    if math.isclose(found, -_by_hand(logits, ids, prompt, length), rel_tol=1e-4):
        return "the loss has the wrong sign: it is minus the logarithm of a probability"
    return "the loss is off: which logits predict a token, which are an answer's, and by how many is the sum divided?"


@task(reference=lambda: _judged)
def judged(judged: Any) -> None:
    """ "exact", "valid" or "not valid" for an answer that should be one JSON object."""
    for words, answer, wanted, verdict, rule in _cases():
        try:
            found = judged(answer, wanted)
        except Exception as error:
            if "JSONDecodeError" in f"{type(error).__name__} {error}":
                raise Wrong(f"with {words} your code stops, JSONDecodeError: catch it, for such answers come") from None
            raise
        if found is None:
            raise Wrong(f"with {words} yours gives None: does every case reach a return?")
        if not isinstance(found, str) or found not in ("exact", "valid", "not valid"):
            raise Wrong('yours gives something else than "exact", "valid" or "not valid"')
        if found != verdict:
            raise Wrong(f'with {words} yours says "{found}": {rule}', yours=found, wanted=verdict)


def _cases() -> list[tuple[str, str, str, str, str]]:
    """What the answer has, the answer, the wanted one, the right verdict, and the rule."""
    year, count = random.randint(1900, 1999), random.randint(2, 9)
    pet, town = random.choice(("swan", "goat", "hare")), random.choice(("Woliby", "Harlo", "Brenn"))
    fields: dict[str, Any] = {"name": "Ada Bron", "born": year, "pet": pet, "town": town}
    plain, mixed = json.dumps(fields), {"name": "Ada Bron", "tame": 1, "years": [count, 1]}
    inside: dict[str, Any] = {"Ada": {"tame": 1, "born": year}, "Ben": {"born": year + 1, "pets": [{"legs": 1}]}}
    nested, legs = json.dumps(inside), '"legs": 1'
    swapped = json.dumps({"Ben": inside["Ben"], "Ada": {"born": year, "tame": 1}})
    turned = json.dumps(dict(reversed(fields.items())))
    listed = json.dumps(mixed)
    return [
        ("the wanted answer itself", plain, plain, "exact", "it is the same text"),
        ("other spaces and line breaks", f"\n{json.dumps(fields, indent=2)} ", plain, "exact",
         "white space around and between the parts of JSON means nothing"),
        ("the fields in another order", turned, plain, "exact", "the order of fields means nothing"),
        ("one value wrong", plain.replace(pet, "newt"), plain, "valid", "it is an object, and not the wanted one"),
        ("one field missing", json.dumps({**fields, "town": 0}).replace(', "town": 0', ""), plain, "valid",
         "it is an object, and it lacks a field"),
        ("one field more", json.dumps({**fields, "colour": "grey"}), plain, "valid",
         "it is an object, and a field that nobody asked for makes it another one"),
        ("a sentence before the object", f"Here it is: {plain}", plain, "not valid",
         "a program that parses the answer would stop. The whole answer must be JSON"),
        ("a sentence after the object", f"{plain} I hope this helps!", plain, "not valid",
         "a program that parses the answer would stop. The whole answer must be JSON"),
        ("two objects", f"{plain}\n{plain}", plain, "not valid", "the whole answer must be one object"),
        ("the answer cut off", plain[:-3], plain, "not valid", "it does not end as JSON does"),
        ("an empty answer", "", plain, "not valid", "nothing is no object"),
        ("single quotes", str(fields), plain, "not valid", "Python writes so; JSON has double quotes"),
        ("a list around the object", f"[{plain}]", plain, "not valid", "it is JSON, and a list: wanted is an object"),
        ("a number alone", f"{year}", plain, "not valid", "it is JSON, and a number: wanted is an object"),
        ("null", "null", plain, "not valid", "it is JSON, and null: wanted is an object"),
        (f"{year}.0 for {year}", plain.replace(f"{year}", f"{year}.0"), plain, "exact", "numbers are equal by value"),
        ("the year as a text", plain.replace(f"{year}", f'"{year}"'), plain, "valid",
         "it is an object, and a text is not the number that it spells"),
        ("true for 1", listed.replace('"tame": 1', '"tame": true'), listed, "valid",
         "in Python True == 1, and in JSON true is no number"),
        ("true for 1, in a list", listed.replace(f"[{count}, 1]", f"[{count}, true]"), listed, "valid",
         "in Python True == 1, inside lists too; in JSON true is no number"),
        ("a list in another order", listed.replace(f"[{count}, 1]", f"[1, {count}]"), listed, "valid",
         "it is an object, and the order of a list does mean something"),
        ("NaN for the year", plain.replace(f"{year}", "NaN"), plain, "not valid",
         "JSON has no NaN, though Python's json.loads takes it, as long as nobody tells it otherwise"),
        ("Infinity for the year", plain.replace(f"{year}", "-Infinity"), plain, "not valid",
         "JSON has no Infinity, though Python's json.loads takes it, as long as nobody tells it otherwise"),
        ("a field twice", f'{{"born": {year - 1}, {plain[1:]}', plain, "not valid",
         "readers differ in which they take; json.loads takes the last and drops the other without a word"),
        ("a list that ends early", listed.replace(f"[{count}, 1]", f"[{count}]"), listed, "valid",
         "it is an object, and its list lacks an entry: compare lengths too"),
        ("a list that goes on", listed.replace(f"[{count}, 1]", f"[{count}, 1, 3]"), listed, "valid",
         "it is an object, and its list has an entry more: compare lengths too"),
        ("objects inside the object, which have a key in common", nested, nested, "exact",
         "it is the same text; a key may stand once in each object"),
        ("the fields of inner objects in another order", swapped, nested, "exact",
         "the order of fields means nothing, inside either"),
        ("true for 1, in an inner object", nested.replace('"tame": 1', '"tame": true'), nested, "valid",
         "in Python True == 1, inside objects too; in JSON true is no number"),
        ("true for 1, in an object of a list", nested.replace(legs, '"legs": true'), nested, "valid",
         "in Python True == 1, however deep; in JSON true is no number"),
        ("a field twice, in an inner object", nested.replace('"tame": 1', '"tame": 1, "tame": 1'), nested, "not valid",
         "readers differ in which they take, so look into every object, not into the outer one alone"),
        ("a field twice, in an object of a list", nested.replace(legs, f"{legs}, {legs}"), nested, "not valid",
         "readers differ in which they take, so look into every object, also those in lists"),
    ]  # fmt: skip
