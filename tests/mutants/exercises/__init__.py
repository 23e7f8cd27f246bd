"""Answers to the tasks of the lessons, wrong and right; one file per topic."""
