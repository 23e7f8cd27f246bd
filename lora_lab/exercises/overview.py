"""What was guessed and typed in one lesson, and in the whole course."""

from lora_lab import show
from lora_lab.exercises import lessons, saved
from lora_lab.exercises.stopping import say
from lora_lab.exercises.wording import distance, number


def results(lesson: str) -> None:
    """Show a lesson's sections with their minutes, the guesses with what was measured, and whose code went on.

    Args:
        lesson: its number, such as "03".

    Raises:
        Stopped: no lesson has that number.
    """
    about = lessons.lesson(lesson)
    if about.sections:
        rows = [[each["title"], f"{each['minutes']} min"] for each in about.sections]
        rows.append(["together", f"{sum(each['minutes'] for each in about.sections)} min"])
        show.table(rows, ["section", "time for a person"])
    if about.guesses:
        rows = [_guess(name, guess["question"]) for name, guess in about.guesses.items()]
        show.table(rows, ["what was guessed", "your guess", "measured", "your guess is"])
    if about.turns:
        show.table([[name, _turn(name)] for name in about.turns], ["your turn", "the lesson went on with"])


def progress() -> None:
    """Show what of the course is done: kept in a file, so that it outlives this notebook."""
    path = saved.place()
    if path is None:
        say("No progress is kept here (LORA_LAB_PROGRESS=off).")
        return
    show.table([list(row) for row in done(saved.stored())], ["lesson or exercise", "typed and right", "guessed"])


def done(kept: dict[str, saved.Entries]) -> list[tuple[str, str, str]]:
    """What is done of each lesson and exercise that asks for something: its title, what is right, what was guessed.

    Args:
        kept: what the file of progress says.
    """
    rows = []
    for each in (*lessons.every(), *lessons.exercises()):
        if each.turns or each.guesses:
            right = sum(kept["turns"].get(name, {}).get("right") is True for name in each.turns)
            made = sum(name in kept["guesses"] for name in each.guesses)
            guessed = f"{made} of {len(each.guesses)}" if each.guesses else "–"
            rows.append((each.title, f"{right} of {len(each.turns)}", guessed))
    return rows


def _guess(name: str, question: str) -> list[str]:
    guessed, measured = saved.guesses.get(name, (None, None))
    if measured is None:
        return [question, "–", "not run", "–"]
    if guessed is None:
        return [question, "no guess", number(measured), "–"]
    return [question, number(guessed), number(measured), distance(guessed, measured, question)]


def _turn(name: str) -> str:
    return {True: "yours", False: "the library's", None: "not run"}[saved.turns.get(name)]
