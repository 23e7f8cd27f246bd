"""What commands that train print, and how they save: shared, so that they say and keep the same things."""

import shutil
import sys
import tempfile
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lora_lab import lora
from lora_lab.disk import MODEL_FILES, atomic_folder


@contextmanager
def interruption_says(sentence: str) -> Iterator[None]:
    """A Ctrl-C within the block carries the sentence, which the command line prints."""
    try:
        yield
    except KeyboardInterrupt as stop:
        stop.args = (sentence,)
        raise


@contextmanager
def warnings_said() -> Iterator[None]:
    """Warnings of ours within the block are a line on stderr, between two states of a bar; others are not shown."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # what transformers is about to rename
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_: say(f"lora-lab: {message}", sys.stderr)
        yield


def bar(total: int, what: str, unit: str, done: int = 0) -> Any:
    """A progress bar on a terminal; in a file or a pipe none."""
    return tqdm(total=total, initial=done, desc=what, unit=unit, disable=None, dynamic_ncols=True)


def say(line: str, file: Any = None) -> None:
    """A line while a bar may be there."""
    tqdm.write(line, file=file or sys.stdout)


def width() -> int:
    """Columns of the terminal, as far as lines are still read well."""
    return max(30, min(100, shutil.get_terminal_size((100, 24)).columns))


def named_lines(rows: Sequence[tuple[str, str]]) -> str:
    """A name, and beside it a text in as many lines as it takes."""
    indent = 10
    lines = []
    for name, text in rows:
        rest = " " * indent
        wrap = {"width": width(), "initial_indent": f"{name:<{indent}}", "subsequent_indent": rest}
        lines += textwrap.wrap(text, break_on_hyphens=False, **wrap)  # type: ignore[arg-type]
    return "\n".join(lines)


def one_line(text: str, most: int) -> str:
    """A text as one line that no terminal obeys: blanks are one space, what does not print is written out."""
    text = " ".join(text.split())
    text = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
    return text if len(text) <= most else f"{text[: max(1, most - 3)]}..."


def save(model: Any, tokenizer: Any, method: str, out: Path, with_tokenizer: bool = False) -> str:
    """Save what was trained, all of it or nothing; a sentence that says where it is.

    Args:
        model: as it was trained.
        tokenizer: goes with a model always, and with an adapter if `with_tokenizer`.
        method: "full" saves the model, another one its adapter.
        out: the folder.
        with_tokenizer: see above.

    Raises:
        OSError: if the folder cannot be written; what was in it is as it was.
    """
    with interruption_says(f"interrupted after the training, while it was saved: what is in {out} is as it was"):
        if method != "full":
            lora.save_adapter(model, out)
            if with_tokenizer:
                with atomic_folder(out) as temporary:
                    tokenizer.save_pretrained(temporary)
            return f"adapter saved in {out}"
        with atomic_folder(out, instead_of=(*MODEL_FILES, "adapter_*")) as temporary:
            model.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
        return f"model saved in {out}"


def save_somewhere(model: Any, tokenizer: Any, method: str, out: Path, with_tokenizer: bool = False) -> str:
    """As `save`; where that fails, in a folder for temporary files, so that what was trained is not lost.

    Raises:
        OSError: that it failed, and where else it is, if that worked.
    """
    try:
        return save(model, tokenizer, method, out, with_tokenizer)
    except OSError as error:
        try:
            elsewhere = Path(tempfile.mkdtemp(prefix="lora-lab-"))
            saved = save(model, tokenizer, method, elsewhere, with_tokenizer)
        except OSError:
            raise error from None
        raise OSError(f"{error}; for now: {saved}") from error
