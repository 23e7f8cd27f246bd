"""Whatever becomes of what a command prints, its exit status is that of its result, and its result is there."""

import copy
import errno
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lora_lab.commands import cli, console
from lora_lab.commands.console import Lasting, lasting_output

ROOT = Path(cli.__file__).parents[2]
MEMORY = ["memory", "smollm2-135m", "--seq-len", "64"]
NO_FIT = [*MEMORY, "--budget", "1MB"]


class Stuck(io.StringIO):
    """Takes nothing."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def write(self, text: str) -> int:
        raise OSError(self.number, os.strerror(self.number))


def on_pipe_without_reader() -> io.TextIOWrapper:
    reading, writing = os.pipe()
    os.close(reading)
    return io.TextIOWrapper(os.fdopen(writing, "wb"), encoding="utf-8")


def encoded(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


@pytest.mark.parametrize("words", [MEMORY, [*MEMORY, "--json"], NO_FIT], ids=["text", "json", "does not fit"])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize(
    "broken",
    [on_pipe_without_reader, lambda: Stuck(errno.EPIPE), lambda: None, lambda: encoded("ascii"),
     lambda: encoded("cp1252"), lambda: encoded("cp437")],
    ids=["no reader", "no reader, no file", "no stream", "ascii", "cp1252", "cp437"],
)  # fmt: skip
def test_no_stream_changes_an_exit_status(monkeypatch, words, stream, broken):
    monkeypatch.setattr(sys, stream, broken())
    assert cli.main(words) == (3 if words is NO_FIT else 0)


def test_a_full_disk_under_stdout_is_one_sentence_and_status_2_after_the_work_is_done(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "stdout", Stuck(errno.ENOSPC))
    assert cli.main([*MEMORY, "--plot", str(tmp_path / "bars.png")]) == 2
    assert (tmp_path / "bars.png").is_file()
    assert capsys.readouterr().err == (
        "lora-lab: cannot write the output (No space left on device): make room, or write it elsewhere\n"
    )


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_device_is_noticed_although_what_is_written_waits_in_a_buffer(monkeypatch):
    with open("/dev/full", "w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with lasting_output() as out:
            print("a little")
            out.flush()
            assert out.failure is not None and out.failure.errno == errno.ENOSPC
        full.write("goes to the null device, so that closing does not fail either")


@pytest.mark.parametrize("words", [["--help"], ["memory", "--help"]])
def test_help_into_a_full_disk_is_said_too(monkeypatch, capsys, words):
    monkeypatch.setattr(sys, "stdout", Stuck(errno.ENOSPC))
    assert cli.main(words) == 2
    assert "cannot write the output" in capsys.readouterr().err


@pytest.mark.parametrize("columns", ["1", "40", "0", "-3", "wide"])
@pytest.mark.parametrize("words", [["--help"], ["demo", "--help"], ["memory", "--help"]])
def test_no_width_of_a_terminal_breaks_the_help(monkeypatch, capsys, columns, words):
    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(SystemExit) as left:
        cli.main(words)
    assert left.value.code == 0 and "usage" in capsys.readouterr().out


def test_what_an_encoding_lacks_becomes_a_question_mark_and_the_rest_stays():
    below = encoded("cp1252")
    stream = Lasting(below)
    assert stream.write("0 % → 97 %, 1 × 2\n") == len("0 % → 97 %, 1 × 2\n")
    stream.flush()
    assert below.buffer.getvalue().decode("cp1252") == "0 % ? 97 %, 1 × 2\n"


def test_a_name_that_is_no_unicode_can_be_printed():
    below = encoded("utf-8")
    Lasting(below).write(os.fsdecode(b"caf\xe9"))
    below.flush()
    assert below.buffer.getvalue() == b"caf?"


def test_a_closed_stream_is_none():
    closed = encoded("utf-8")
    closed.close()
    Lasting(closed).write("nobody reads this")


def test_a_reader_that_went_away_is_no_failure_and_a_full_disk_is():
    gone, full = Lasting(Stuck(errno.EPIPE)), Lasting(Stuck(errno.ENOSPC))
    for stream in (gone, full):
        stream.write("one")
        stream.write("two")
    assert gone.failure is None and full.failure.errno == errno.ENOSPC


def test_lines_at_once_cannot_fail_either():
    below, full = encoded("cp1252"), Lasting(Stuck(errno.ENOSPC))
    Lasting(below).writelines(["0 → ", "1\n"])
    full.writelines(["one\n", "two\n"])
    below.flush()
    assert below.buffer.getvalue() == b"0 ? 1\n" and full.failure.errno == errno.ENOSPC


def test_a_copy_writes_to_the_same_place():
    below = encoded("cp1252")
    stream = copy.copy(Lasting(below))
    stream.write("→")
    stream.flush()
    assert below.buffer.getvalue() == b"?" and not hasattr(stream, "no_such_name")


def test_of_several_failures_the_first_is_told(tmp_path):
    class Failing(Stuck):
        def fileno(self) -> int:
            return file.fileno()

    with open(tmp_path / "below", "w", encoding="utf-8") as file:
        below = Failing(errno.ENOSPC)
        stream = Lasting(below)
        stream.write("one")
        below.number = errno.EIO
        stream.write("two")
    assert stream.failure.errno == errno.ENOSPC


def test_what_was_printed_has_left_its_buffers_after_the_block(monkeypatch):
    out, err = encoded("utf-8"), encoded("utf-8")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with lasting_output():
        print("a result")
        print("a remark", file=sys.stderr)
        assert out.buffer.getvalue() == err.buffer.getvalue() == b""  # else there is nothing to see here
    assert (out.buffer.getvalue(), err.buffer.getvalue()) == (b"a result\n", b"a remark\n")


def test_the_streams_are_put_back_after_a_bug_too():
    before = sys.stdout, sys.stderr
    with pytest.raises(ZeroDivisionError), lasting_output():
        assert isinstance(sys.stdout, Lasting)
        raise ZeroDivisionError
    assert (sys.stdout, sys.stderr) == before


def test_no_file_is_opened_under_the_number_of_a_standard_stream(monkeypatch):
    numbers = iter([1, 2, 7])
    closed = []
    monkeypatch.setattr(console.os, "open", lambda *_: next(numbers))
    monkeypatch.setattr(console.os, "close", closed.append)
    with lasting_output():
        assert closed == [7] and next(numbers, None) is None


def test_termination_unwinds_like_an_interrupt_and_the_handler_is_put_back(monkeypatch, capsys):
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(cli, "_doctor", lambda options: signal.raise_signal(signal.SIGTERM))
    assert cli.main(["doctor"]) == 130
    assert capsys.readouterr().err == "lora-lab: interrupted\n"
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
@pytest.mark.parametrize(
    ("tail", "status", "said"),
    [
        ("| head -1", 0, "Needs "),
        (">&- 2>&-", 0, ""),
        ("2>&1 >/dev/full", 2, "cannot write the output"),
        ("--budget 1MB | true", 3, ""),
    ],
)
def test_in_a_shell_too(tail, status, said):
    setting = "PYTHONIOENCODING=ascii LC_ALL=C TERM=dumb COLUMNS=1"
    command = f"{setting} {sys.executable} -m lora_lab.commands.cli {' '.join(MEMORY)} {tail}"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == status and said in done.stdout and "Traceback" not in done.stderr, done.stderr
    assert "Exception ignored" not in done.stderr and "Broken pipe" not in done.stderr
