"""`lora-lab finetune`: from a file of prompts and answers to an adapter that answers like them."""

import argparse
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from lora_lab import train
from lora_lab.commands import finetune_report as report
from lora_lab.commands.finetune_base import Base
from lora_lab.commands.finetune_plan import Data, Settings, Tokens, encode, in_words, read_data, settle
from lora_lab.commands.finetune_report import Scores
from lora_lab.commands.finetune_room import room, way_out
from lora_lab.commands.reporting import bar, interruption_says, named_lines, save_somewhere, say, warnings_said
from lora_lab.data.jsonl import BadLines
from lora_lab.disk import leftovers, read_json, writable_folder, write_json
from lora_lab.train import History, fingerprints, keeping

KEPT = "unfinished"
"""The folder in --out that an interrupted run is gone on with from; gone when the run is done."""

_SAVE_EVERY = 50  # steps at most


def run(options: argparse.Namespace) -> int:
    """Say what fits and what will be done; measure, train, save, measure, report.

    Returns:
        0, or 1 if the loss on held-out examples did not improve.

    Raises:
        TypeError, ValueError: for bad lines, a model that cannot be had, numbers out of range, too little memory, or an
            interrupted run that is another one; before anything is trained.
        OSError: if a file cannot be read, or the result not be written; it says where else it is.
        FloatingPointError: if training goes astray.
        MemoryError: if memory runs out all the same; it says what would help.
        KeyboardInterrupt: if it is interrupted; it says what is kept, and how to go on.
    """
    started = time.perf_counter()
    with _lines_said():
        data = read_data(options)
        base = Base(options.model)
        tokens = encode(base, data.splits, options.seq_len)
    settings = settle(options, base, len(data.splits.train))
    _refuse_own_folder(base, options.out)
    verdict = room(base, settings, tokens.longest)
    print(f"{options.model} · {settings.method} · seed {settings.seed}\n")
    print(named_lines([("memory", str(verdict))]))
    if not verdict.fits and not options.force:
        raise ValueError(f"a step does not fit into memory: {way_out(base, settings, tokens.longest)}")
    print(named_lines(in_words(base, data, tokens, settings, verdict.trainable)))
    if finished := _look_at(options.out, settings.identity(base, data), options.resume):
        return finished.say(options.out)
    if options.dry_run:
        print("\nNothing was done: leave out --dry-run to train.")
        return 0
    out = writable_folder(options.out)  # refuse before an hour of training, not after
    earlier = any((out / name).exists() for name in (report.NAME, "adapter_config.json", "config.json"))
    result = f"{out}{', in the place of an earlier one' * earlier}; Ctrl-C keeps what is trained, once a step is done"
    print(named_lines([("result", result)]) + "\n", flush=True)
    with _alone(out):
        if not options.resume:
            shutil.rmtree(out / KEPT, ignore_errors=True)  # of a run that had not begun
        for left in leftovers(out):  # of a run that was killed while it saved
            if left.name.startswith(f".{KEPT}."):
                shutil.rmtree(left, ignore_errors=True)
        return _Run(base, data, tokens, settings, out, options.words).all(started)


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Within the block no other process trains into the same folder.

    Raises:
        ValueError: if one does.
    """
    lock = FileLock(out / ".finetune.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ValueError(
            f"another run trains into '{out}' at this moment: wait for it, or choose another --out"
        ) from error
    try:
        yield
    finally:
        (out / ".finetune.lock").unlink(missing_ok=True)
        lock.release()


@contextmanager
def _lines_said() -> Iterator[None]:
    """Bad lines are said one below the other, if there are several."""
    try:
        yield
    except BadLines as bad:
        if len(bad.problems) == 1:
            raise
        for problem in bad.problems[: bad.SHOWN]:
            print(f"lora-lab: {problem}", file=sys.stderr)
        more = len(bad.problems) - bad.SHOWN
        more_words = f" and {more} more" if more > 0 else ""
        raise ValueError(f"these{more_words}, {len(bad.problems)} lines, cannot be used: nothing was done") from bad


class _Finished:
    """A run that is done already."""

    def __init__(self, content: dict[str, Any]) -> None:
        self._content = content

    def say(self, out: Path) -> int:
        try:
            before, after = (float(self._content[when]["loss"]) for when in ("before", "after"))
        except (KeyError, TypeError, ValueError) as error:
            file = out / report.NAME
            raise ValueError(
                f"{file} is damaged (it is not what was written): leave out --resume to begin again"
            ) from error
        print(f"\nThis run is finished: its result is in {out}, and {report.NAME} there tells of it.")
        return _verdict(before, after)


def _look_at(out: Path, identity: dict[str, Any], resume: bool) -> _Finished | None:
    """Whether a run in the folder is gone on with; the finished one, if it is.

    Raises:
        ValueError: for an interrupted run and no --resume, for --resume and none, or for one that is another.
        OSError: if it cannot be read.
    """
    kept = out / KEPT
    done = keeping.steps_done(kept)
    if not resume:
        if done:
            raise ValueError(
                f"'{out}' holds a run that was interrupted after {done} steps: go on with it by --resume, choose "
                f"another --out, or delete '{kept}'"
            )
        return None
    if done is not None:
        keeping.require_same(kept, identity)
        return None
    if (out / report.NAME).exists():
        content = read_json(out / report.NAME, "leave out --resume to begin again", finite=False)
        if content.get("identity") == fingerprints.of_values(identity):
            return _Finished(content)
    raise ValueError(f"there is no interrupted run of these settings in '{out}': leave out --resume to begin one")


def _refuse_own_folder(base: Base, out: Path) -> None:
    if base.path and out.exists() and out.samefile(base.path):
        raise ValueError(f"'{out}' is the model's own folder, and is not written in: choose another --out")


class _Run:
    """One run, with everything that is settled."""

    def __init__(
        self, base: Base, data: Data, tokens: Tokens, settings: Settings, out: Path, words: Sequence[str]
    ) -> None:
        self.base, self.data, self.tokens, self.settings, self.out = base, data, tokens, settings, out
        self.kept, self.words = out / KEPT, words
        self._done = 0

    def all(self, started: float) -> int:
        """Measure, train, save, measure, report."""
        done = keeping.steps_done(self.kept)
        kept = f"the {done} steps are kept as they were" if done else "nothing was trained"
        with interruption_says(f"interrupted before the training: {kept}"):
            self.model, self.tokenizer = self.base.load()
            before = self._before()
            if self.settings.method == "full" and str(self.base.dtype) == "torch.float16":
                self.model.float()
            train.prepare(self.model, self.settings.method, self.settings.adapters, self.settings.seed)
        history = self._trained()
        with_tokenizer = not self.base.own_template
        saved = save_somewhere(self.model, self.tokenizer, self.settings.method, self.out, with_tokenizer)
        with interruption_says(f"interrupted after the training: {saved}; for the report: {report.again(self.words)}"):
            after = self._measure("after")
            seconds = time.perf_counter() - started
            content = report.content(self.base, self.data, self.settings, history, before, after, seconds)
            try:
                write_json(self.out / report.NAME, content, finite=False)
            except OSError as error:
                raise OSError(f"{error}; the {saved}, and {report.again(self.words)} makes the report") from error
            shutil.rmtree(self.kept, ignore_errors=True)
        self._print(history, before, after, saved)
        return _verdict(before.loss, after.loss)

    def _measure(self, when: str) -> Scores:
        return report.measure(self.model, self.tokenizer, self.data.splits.heldout, self.settings.batch_size, when)

    def _before(self) -> Scores:
        """Of the base; a run that is gone on with has them already."""
        file = self.kept / "before.json"
        same = fingerprints.of_values(self.settings.identity(self.base, self.data))
        if file.exists():
            content = read_json(file, f"delete it, or '{self.kept}' to begin again", finite=False)
            if content.pop("identity", None) == same:
                return Scores(**content)
        scores = self._measure("before")
        write_json(file, {"identity": same, **vars(scores)}, finite=False)
        return scores

    def _trained(self) -> History:
        s = self.settings
        self._done = done = keeping.steps_done(self.kept) or 0
        if done:
            say(f"going on after {done} of {s.steps} steps")
        with bar(s.steps, "training", "step", done) as progress, warnings_said():

            def on_step(step: int, loss: float) -> None:
                progress.set_postfix(loss=f"{loss:.3f}", refresh=False)
                progress.update()
                self._done = step

            def validate() -> float:
                loss = train.answer_loss(self.model, self.tokenizer, self.data.splits.validation, s.batch_size)
                say(f"after {self._done:>4} of {s.steps} steps: validation loss {loss:.3f}")
                return -loss

            try:
                return train.fit(
                    self.model,
                    self.tokens.train,
                    steps=s.steps,
                    lr=s.lr,
                    batch_size=s.batch_size,
                    warmup=s.warmup,
                    seed=s.seed,
                    pad_id=self.tokenizer.pad_token_id,
                    accumulate=s.accumulate,
                    checkpointing=s.checkpointing,
                    evaluate=validate,
                    evaluate_every=s.evaluate_every,
                    patience=s.patience,
                    on_step=on_step,
                    resume=self.kept,
                    save_every=min(_SAVE_EVERY, s.evaluate_every),
                    identity=s.identity(self.base, self.data),
                )
            except KeyboardInterrupt as stop:
                stop.args = (self._interrupted(),)
                raise
            except FloatingPointError:  # it would go astray again
                shutil.rmtree(self.kept, ignore_errors=True)
                raise
            except RuntimeError as error:
                if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error).lower():
                    raise MemoryError(self._out_of_memory()) from error
                raise

    def _out_of_memory(self) -> str:
        ways = "begin again with a smaller --batch-size or --method qlora"
        if not self.settings.checkpointing:
            command = report.again([*self.words, "--checkpointing"])
            ways = (
                f"go on with '{command}', or {ways}" if keeping.steps_done(self.kept) else f"{ways}, or --checkpointing"
            )
        return f"memory ran out after {self._done} of {self.settings.steps} steps: {ways}"

    def _interrupted(self) -> str:
        done = keeping.steps_done(self.kept)
        if done is None:
            return "interrupted at the start of the training: nothing is kept"
        return f"interrupted; {done} of {self.settings.steps} steps are kept. To go on: {report.again(self.words)}"

    def _print(self, history: History, before: Scores, after: Scores, saved: str) -> None:
        early = ", where patience ended it" if history.stopped_early else ""
        print(f"\n{len(history.losses)} steps{early}; the weights are those of step {history.best_step}.\n")
        print(report.table(before, after))
        print(report.samples(self.data.splits.heldout, before, after))
        print(f"\n{saved[0].upper()}{saved[1:]}, the report in {self.out / report.NAME}. To load it:\n")
        print(report.how_to_load(self.base, self.settings.method, self.out))


def _verdict(before: float, after: float) -> int:
    if after < before:
        print(f"\nHeld-out loss {before:.3f} → {after:.3f}: improved.")
        return 0
    print(
        f"\nHeld-out loss {before:.3f} → {after:.3f}: NOT improved. Look at the data, give more, or try another --lr."
    )
    return 1
