"""One small wrong change to the library, and the test that must notice it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """A mutation of one file.

    Attributes:
        file: of the library, from the repository's root.
        before: text that stands exactly once in the file, as few lines as make it so.
        after: what takes its place.
        test: the id of the test that must fail then, in two seconds or less, in this process (what it starts as
            another process would import the library as it is).
        wrong: what is wrong with the library then, in a few words.
    """

    file: str
    before: str
    after: str
    test: str
    wrong: str
