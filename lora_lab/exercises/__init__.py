"""Exercises within the lessons: what is guessed, typed and checked, with hints and solutions."""

from lora_lab.exercises.checks import check, marked_later
from lora_lab.exercises.guessing import guesses
from lora_lab.exercises.hints import hint, solution
from lora_lab.exercises.overview import progress, results

__all__ = ["check", "guesses", "hint", "marked_later", "progress", "results", "solution"]
