"""A half-written file never replaces a whole one, and a folder that cannot be written is refused in one sentence."""

import errno
import importlib
import itertools
import os
import stat
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from safetensors import SafetensorError

from lora_lab.disk import documents, exchange
from lora_lab.disk import (
    MODEL_FILES,
    atomic_folder,
    atomic_path,
    leftovers,
    read_json,
    read_safetensors,
    writable_folder,
    write_json,
)


@pytest.fixture
def below_a_file(tmp_path):
    """A folder that nobody can make, not even root, whom permission bits do not stop."""
    (tmp_path / "file").write_text("in the way")
    return tmp_path / "file" / "folder"


def test_a_file_appears_only_when_it_is_complete(tmp_path):
    target = tmp_path / "new" / "result.json"
    with atomic_path(target) as temporary:
        temporary.write_text("whole")
        assert temporary.parent == target.parent and not target.exists()
    assert target.read_text() == "whole"
    assert os.listdir(target.parent) == ["result.json"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_while_writing_leaves_the_old_file_and_no_litter(tmp_path, error):
    target = tmp_path / "result.json"
    target.write_text("old")
    with pytest.raises(error), atomic_path(target) as temporary:
        temporary.write_text("ha")
        raise error
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["result.json"]


def test_nothing_written_is_an_error_and_not_an_empty_file(tmp_path):
    with pytest.raises(OSError), atomic_path(tmp_path / "result.json"):
        pass
    assert os.listdir(tmp_path) == []


def test_a_link_stays_a_link_and_its_target_is_replaced(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to(tmp_path / "real.txt")
    with atomic_path(tmp_path / "link.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


def test_a_folder_is_never_replaced_by_a_file(tmp_path):
    with pytest.raises(OSError, match="a folder has that name"), atomic_path(tmp_path):
        pytest.fail("the block must not run: its work would be lost")


def test_a_new_folder_appears_only_when_it_is_complete(tmp_path):
    target = tmp_path / "adapter"
    with atomic_folder(target) as temporary:
        (temporary / "sub").mkdir()
        (temporary / "sub" / "weights").write_text("w")
        assert not target.exists()
    assert (target / "sub" / "weights").read_text() == "w"
    assert os.listdir(tmp_path) == ["adapter"]


def test_writing_into_a_folder_replaces_its_files_and_keeps_the_others(tmp_path):
    target = tmp_path / "adapter"
    target.mkdir()
    (target / "weights").write_text("old")
    (target / "diary").write_text("not ours")
    with atomic_folder(target) as temporary:
        (temporary / "weights").write_text("new")
        (temporary / "config").write_text("c")
        assert (target / "weights").read_text() == "old"
    assert {file.name: file.read_text() for file in target.iterdir()} == {
        "weights": "new",
        "config": "c",
        "diary": "not ours",
    }
    assert os.listdir(tmp_path) == ["adapter"]


def test_an_error_while_writing_a_folder_leaves_the_old_one(tmp_path):
    target = tmp_path / "adapter"
    target.mkdir()
    (target / "weights").write_text("old")
    with pytest.raises(RuntimeError), atomic_folder(target) as temporary:
        (temporary / "weights").write_text("ha")
        raise RuntimeError
    assert (target / "weights").read_text() == "old"
    assert os.listdir(tmp_path) == ["adapter"]


def test_a_folder_is_made_with_its_parents_and_nothing_is_left_in_it(tmp_path):
    folder = writable_folder(str(tmp_path / "a" / "b"))
    assert folder.is_dir() and os.listdir(folder) == []
    assert writable_folder(folder) == folder


def test_a_folder_that_cannot_be_written_is_named_with_a_remedy(below_a_file):
    for attempt in (
        lambda: writable_folder(below_a_file),
        lambda: atomic_path(below_a_file / "x").__enter__(),
        lambda: atomic_folder(below_a_file).__enter__(),
        lambda: writable_folder(below_a_file.parent),
    ):
        with pytest.raises(OSError, match=r"cannot write in .*'.*file.*choose another (folder|name)") as caught:
            attempt()
        assert "\n" not in str(caught.value)


def test_a_read_only_folder_is_refused(tmp_path, monkeypatch):
    def refuse(**_):  # what a read-only disk answers, to root as well
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("lora_lab.disk.atomic.tempfile.TemporaryFile", refuse)
    with pytest.raises(OSError, match="Read-only file system.*choose another folder"):
        writable_folder(tmp_path)


# Files that belong together


class Killed(BaseException):
    """Stands in for the end of the process: from then on no call to the system does anything."""


CALLS = [
    ("os", "rename"),
    ("os", "replace"),
    ("os", "link"),
    ("os", "mkdir"),
    ("os", "unlink"),
    ("os", "rmdir"),
    ("os", "chmod"),
    ("shutil", "rmtree"),
    ("shutil", "copystat"),
    ("lora_lab.disk.exchange", "_exchange"),
]


@pytest.fixture
def kill(monkeypatch):
    """`kill(n)`: the process dies before its n-th call; `kill.happened` says whether it came so far."""

    def arm(n):
        calls = iter(range(n))
        kill.happened = False
        for module, name in CALLS:
            real = arm.real.setdefault((module, name), getattr(importlib.import_module(module), name))

            def call(*args, _real=real, **options):
                if next(calls, None) is None:
                    kill.happened = True
                    raise Killed
                return _real(*args, **options)

            monkeypatch.setattr(f"{module}.{name}", call)

    arm.real = {}
    kill = arm
    kill.happened = False
    yield arm
    monkeypatch.undo()


def content(folder):
    return {file.name: file.read_text() for file in folder.iterdir() if file.is_file()}


OLD = {"config": "old", "weights": "old and long", "diary": "not ours"}
NEW = {"config": "new", "weights": "new and long", "diary": "not ours"}


@pytest.mark.parametrize("in_place", [False, True], ids=["swap", "in place"])
def test_a_process_killed_at_any_step_leaves_the_files_of_one_save(tmp_path, monkeypatch, kill, in_place):
    seen = []
    for n in itertools.count():
        target = tmp_path / f"adapter{n}"
        target.mkdir()
        for name, text in OLD.items():
            (target / name).write_text(text)
        if in_place:
            monkeypatch.setattr("lora_lab.disk.exchange._is_plain", lambda *_: False)
        kill(n)
        with suppress(Killed), atomic_folder(target) as temporary:
            for name in ("config", "weights"):
                (temporary / name).write_text(NEW[name])
        died = kill.happened
        monkeypatch.undo()
        seen.append(found := content(target))
        assert found["diary"] == "not ours"
        ours = {found.get(name) for name in ("config", "weights")}
        assert len({text.split()[0] for text in ours - {None}}) <= 1, f"mixed when killed before call {n}: {found}"
        assert in_place or found in (OLD, NEW)
        if found not in (OLD, NEW):
            assert "weights" not in found  # what is missing is what no reader does without
            assert leftovers(target)
        if not died:
            break
    assert seen[0] == OLD and seen[-1] == NEW and n > 5


@pytest.mark.parametrize("in_place", [False, True], ids=["swap", "in place"])
@pytest.mark.parametrize(
    "error", [OSError(errno.EACCES, "Permission denied"), KeyboardInterrupt()], ids=["error", "^C"]
)
def test_a_replacement_that_fails_at_any_step_is_taken_back(tmp_path, monkeypatch, in_place, error):
    target = tmp_path / "adapter"
    target.mkdir()
    for name, text in OLD.items():
        (target / name).write_text(text)
    if in_place:
        monkeypatch.setattr("lora_lab.disk.exchange._is_plain", lambda *_: False)
    real, state = os.rename, OLD
    for n in itertools.count():
        calls = itertools.count()

        def rename(source, place, *, _calls=calls, _n=n):
            if next(_calls) == _n:
                raise error
            real(source, place)

        monkeypatch.setattr("os.rename", rename)
        try:
            with atomic_folder(target) as temporary:
                for name in ("config", "weights"):
                    (temporary / name).write_text(NEW[name])
            state = NEW
        except (OSError, KeyboardInterrupt) as caught:
            assert caught is error or "cannot write" in str(caught)
            assert state is NEW or n > 0 or error.args == ()  # the first is a move, which copies where it cannot rename
        assert content(target) == state
        assert os.listdir(tmp_path) == ["adapter"] and not leftovers(target)
        if next(calls) <= n:
            break
    assert state is NEW and n >= (5 if in_place else 0)


def test_a_folder_is_swapped_in_one_step_where_the_system_can():
    if not sys.platform.startswith("linux"):
        pytest.skip("renameat2 is Linux's")
    with tempfile.TemporaryDirectory() as place:
        one, other = Path(place, "one"), Path(place, "other")
        one.mkdir()
        other.mkdir()
        (one / "a").write_text("a")
        if not exchange._exchange(one, other):
            pytest.skip("this file system cannot exchange two names")
        assert (other / "a").read_text() == "a" and not (one / "a").exists()
        assert not exchange._exchange(one, Path(place, "absent"))


def test_the_current_folder_can_be_replaced_and_stays_the_current_one(tmp_path, monkeypatch):
    target = tmp_path / "adapter"
    target.mkdir()
    (target / "config").write_text("old")
    for here in (target, target / "below"):
        here.mkdir(exist_ok=True)
        monkeypatch.chdir(here)
        with atomic_folder(target) as temporary:
            (temporary / "config").write_text(str(here))
        assert os.getcwd() == str(here) and os.path.samefile(".", here)
        assert (target / "config").read_text() == str(here)
        assert "config" in os.listdir(target) and not leftovers(target) and os.listdir(tmp_path) == ["adapter"]


@pytest.mark.parametrize("below", ["", "below", "below/deeper"])
def test_a_folder_that_somebody_stands_in_is_staged_in_itself(tmp_path, monkeypatch, below):
    target = tmp_path / "adapter"
    (target / below).mkdir(parents=True)
    monkeypatch.chdir(target / below)
    assert exchange.needs_staging_inside(target)
    monkeypatch.chdir(tmp_path)
    assert not exchange.needs_staging_inside(target)


def test_a_save_moves_the_time_of_its_folder(tmp_path):
    target = tmp_path / "adapter"
    for in_place in (False, True):
        target.mkdir(exist_ok=True)
        os.utime(target, (1, 1))
        with pytest.MonkeyPatch.context() as patch:
            if in_place:
                patch.setattr(exchange, "_is_plain", lambda *_: False)
            with atomic_folder(target) as temporary:
                (temporary / "weights").write_text("new")
        assert target.stat().st_mtime > 1


@pytest.mark.parametrize("field", ["st_uid", "st_gid", "st_dev"])
def test_a_folder_of_another_owner_or_disk_is_replaced_in_place(tmp_path, monkeypatch, field):
    target = tmp_path / "adapter"
    target.mkdir()
    (target / "weights").write_text("old")
    real, number = Path.stat, target.stat().st_ino

    class Others:
        """What the system says of a folder, but for one field."""

        def __init__(self, found):
            self.found = found

        def __getattr__(self, name):
            return getattr(self.found, name) + (name == field)

    def stat_of(path, **options):
        found = real(path, **options)
        return Others(found) if path == target else found

    monkeypatch.setattr(exchange, "_exchange", lambda *_: pytest.fail("the owner of the folder would change"))
    with atomic_folder(target) as temporary:
        (temporary / "weights").write_text("new")
        monkeypatch.setattr(Path, "stat", stat_of)
    monkeypatch.undo()
    assert target.stat().st_ino == number and content(target) == {"weights": "new"}


@pytest.mark.skipif(not exchange.HAS_LOCKS, reason="needs locks")
def test_a_saver_that_waited_for_a_folder_that_was_swapped_waits_for_the_new_one(tmp_path, monkeypatch):
    target, other = tmp_path / "adapter", tmp_path / "other"
    target.mkdir()
    other.mkdir()
    real, locked = exchange.fcntl.flock, []

    def flock(handle, operation):
        if not locked:  # the one that held the lock has swapped the folder meanwhile
            target.rename(tmp_path / "old")
            other.rename(target)
        locked.append(os.fstat(handle).st_ino)
        real(handle, operation)

    numbers = [target.stat().st_ino, other.stat().st_ino]
    monkeypatch.setattr(exchange.fcntl, "flock", flock)
    with exchange.locked(target):
        assert locked == numbers
        handle = os.open(target, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            real(handle, exchange.fcntl.LOCK_EX | exchange.fcntl.LOCK_NB)
        os.close(handle)


def test_in_place_the_largest_goes_out_first_and_comes_in_last(tmp_path, monkeypatch):
    target = tmp_path / "adapter"
    target.mkdir()
    sizes = {"a": 300, "b": 1, "c": 20}
    for name in sizes:
        (target / name).write_text("old")
    monkeypatch.setattr(exchange, "_is_plain", lambda *_: False)
    real, moves = os.rename, []
    monkeypatch.setattr("os.rename", lambda source, place: moves.append(Path(source)) or real(source, place))
    with atomic_folder(target) as temporary:
        for name, size in sizes.items():
            (temporary / name).write_text("x" * size)
    out = [path.name for path in moves if path.parent == target]
    came_in = [path.name for path in moves if path.parent.name == "new"]
    assert (out, came_in) == (["a", "c", "b"], ["b", "c", "a"])


def test_what_is_not_ours_stays_whatever_it_is(tmp_path):
    target = tmp_path / "adapter"
    (target / "checkpoint-1").mkdir(parents=True)
    (target / "checkpoint-1" / "state").write_text("theirs")
    (target / "link").symlink_to("nowhere")
    (target / ".hidden").write_text("theirs")
    (target / "weights").write_text("old")
    with atomic_folder(target) as temporary:
        (temporary / "weights").write_text("new")
    assert (target / "checkpoint-1" / "state").read_text() == "theirs"
    assert os.readlink(target / "link") == "nowhere" and (target / ".hidden").read_text() == "theirs"
    assert (target / "weights").read_text() == "new" and os.listdir(tmp_path) == ["adapter"]


def test_what_arrives_while_a_folder_is_swapped_is_not_lost(tmp_path, monkeypatch):
    target = tmp_path / "adapter"
    target.mkdir()
    (target / "weights").write_text("old")
    real = exchange._exchange

    def late(one, other):
        (target / "late").write_text("theirs")
        (target / "folder").mkdir()
        return real(one, other)

    monkeypatch.setattr(exchange, "_exchange", late)
    with atomic_folder(target) as temporary:
        (temporary / "weights").write_text("new")
    assert (target / "late").read_text() == "theirs" and (target / "folder").is_dir()
    assert (target / "weights").read_text() == "new" and os.listdir(tmp_path) == ["adapter"]


def test_a_folder_in_a_place_that_cannot_be_written_is_replaced_in_place(tmp_path, monkeypatch):
    target = tmp_path / "adapter"
    target.mkdir()
    (target / "weights").write_text("old")
    monkeypatch.setattr("lora_lab.disk.exchange.os.access", lambda path, mode: os.fspath(path) != str(tmp_path))
    with atomic_folder(target) as temporary:
        assert target in temporary.parents
        (temporary / "weights").write_text("new")
    assert content(target) == {"weights": "new"} and os.listdir(tmp_path) == ["adapter"]


def test_a_link_to_a_folder_stays_a_link_and_one_that_leads_nowhere_is_named(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with atomic_folder(tmp_path / "link") as temporary:
        (temporary / "weights").write_text("new")
    assert os.readlink(tmp_path / "link") == "real" and content(tmp_path / "real") == {"weights": "new"}
    (tmp_path / "loop").symlink_to("loop")
    for attempt in (atomic_folder, atomic_path):
        with pytest.raises(OSError, match="loop' is a link that leads back to itself"), attempt(tmp_path / "loop"):
            pytest.fail("the block must not run")


def test_a_folder_that_has_the_name_of_a_file_is_not_replaced(tmp_path):
    target = tmp_path / "adapter"
    (target / "weights" / "precious").mkdir(parents=True)
    with pytest.raises(OSError, match="weights', because a folder has that name"), atomic_folder(target) as temporary:
        (temporary / "weights").write_text("new")
    assert (target / "weights" / "precious").is_dir()


def test_two_savers_at_once_leave_the_files_of_one_of_them(tmp_path):
    target = tmp_path / "adapter"
    errors = []

    def save(who):
        try:
            for _ in range(25):
                with atomic_folder(target) as temporary:
                    for name in ("config", "weights"):
                        (temporary / name).write_text(who)
        except BaseException as error:
            errors.append(error)

    for in_place in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            if in_place:
                patch.setattr("lora_lab.disk.exchange._is_plain", lambda *_: False)
            savers = [threading.Thread(target=save, args=(who,)) for who in "abc"]
            for saver in savers:
                saver.start()
            for saver in savers:
                saver.join()
        assert not errors and len(set(content(target).values())) == 1 and len(content(target)) == 2
        assert os.listdir(tmp_path) == ["adapter"]


def test_a_file_system_without_links_or_exchange_still_replaces(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EPERM, "Operation not permitted")

    for name, stand_in in (("os.link", refuse), ("_exchange", lambda *_: False)):
        target = tmp_path / name
        target.mkdir()
        for file, text in OLD.items():
            (target / file).write_text(text)
        monkeypatch.setattr(f"lora_lab.disk.exchange.{name}", stand_in)
        with atomic_folder(target) as temporary:
            for file in ("config", "weights"):
                (temporary / file).write_text(NEW[file])
        assert content(target) == NEW
    assert not leftovers(tmp_path)


def test_leftovers_are_found_by_their_names(tmp_path):
    for name in (".demo.0a1b2c3d.tmp", ".a.b.json.ffffffff.tmp"):
        (tmp_path / name).mkdir()
    for name in ("demo.0a1b2c3d.tmp", ".demo.tmp", ".demo.0a1b2c3d.tmp.txt"):
        (tmp_path / name).write_text("somebody's")
    assert [path.name for path in leftovers(tmp_path)] == [".a.b.json.ffffffff.tmp", ".demo.0a1b2c3d.tmp"]
    assert leftovers(tmp_path / "absent") == []


# What goes with the files that are replaced


@pytest.mark.parametrize("inside", [False, True], ids=["swapped", "in place"])
def test_what_a_new_save_stands_for_goes_and_what_is_the_users_stays(tmp_path, inside):
    target = tmp_path / "model"
    target.mkdir()
    for name in ("model.safetensors", "adapter_config.json", "mine.txt"):
        (target / name).write_text("old")
    if inside:
        (target / "folder").mkdir()  # which a swap would lose
    with atomic_folder(target, instead_of=(*MODEL_FILES, "adapter_*")) as temporary:
        for name in ("model-00001-of-00001.safetensors", "model.safetensors.index.json"):
            (temporary / name).write_text("new")
    files = {path.name: path.read_text() for path in target.iterdir() if path.is_file()}
    assert files == {
        "model-00001-of-00001.safetensors": "new",
        "model.safetensors.index.json": "new",
        "mine.txt": "old",
    }
    assert leftovers(target) == leftovers(tmp_path) == []


# Modes, and a disk that is full


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
@pytest.mark.parametrize(
    ("umask", "file", "folder"), [(0o022, 0o644, 0o755), (0o027, 0o640, 0o750), (0o077, 0o600, 0o700)]
)
def test_files_get_the_mode_that_the_umask_asks_for(tmp_path, umask, file, folder):
    before = os.umask(umask)
    try:
        with atomic_folder(tmp_path / "adapter") as temporary:
            (temporary / "weights").touch(mode=0o600)  # as safetensors 0.8 writes a file, whatever the umask
            (temporary / "config").write_text("c")
        with atomic_path(tmp_path / "alone") as temporary:
            temporary.touch(mode=0o600)
    finally:
        os.umask(before)
    assert {mode(path) for path in (*(tmp_path / "adapter").iterdir(), tmp_path / "alone")} == {file}
    assert mode(tmp_path / "adapter") == folder


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_what_was_private_stays_private_when_it_is_replaced(tmp_path):
    target = tmp_path / "adapter"
    target.mkdir(mode=0o700)
    (target / "weights").write_text("old")
    (target / "weights").chmod(0o600)
    with atomic_folder(target) as temporary:
        (temporary / "weights").write_text("new")
    with atomic_path(target / "weights") as temporary:
        temporary.write_text("newer")
    assert (mode(target), mode(target / "weights")) == (0o700, 0o600)


def mode(path):
    return path.stat().st_mode & 0o777


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a limit on the size of files is not everywhere")
def test_a_full_disk_is_one_sentence_and_the_old_files_stay(tmp_path):
    """In a process of its own, whose files cannot grow beyond 4 KB: to the writer the same as a disk that is full."""
    code = """
import os, resource, sys, torch
from pathlib import Path
from safetensors.torch import save_file
from lora_lab.disk import atomic_folder, atomic_path
os.chdir(sys.argv[1])
Path("adapter").mkdir()
Path("adapter/weights").write_text("old")
Path("alone").write_text("old")
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
def tensors():
    with atomic_folder("adapter") as folder:
        save_file({"w": torch.zeros(9999)}, folder / "weights")
def text():
    with atomic_path("alone") as path:
        path.write_text("x" * 9999)
for attempt in (tensors, text):
    try:
        attempt()
    except OSError as error:
        print(error)
print(Path("adapter/weights").read_text(), Path("alone").read_text(), os.listdir("."), os.listdir("adapter"))
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=600)
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done.stderr
    for sentence in lines[:2]:
        assert "cannot write" in sentence and "(File too large): free some space, or choose another place" in sentence
    assert lines[2].startswith("old old ") and ".tmp" not in lines[2]


def test_the_error_that_safetensors_hides_is_the_disks(tmp_path):
    full = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    with pytest.raises(OSError, match="No space left on device.*free some space"):
        with atomic_folder(tmp_path / "adapter"):
            raise full


def test_another_error_of_safetensors_is_not_taken_for_the_disks(tmp_path):
    with pytest.raises(SafetensorError, match="shared memory"):
        with atomic_path(tmp_path / "weights"):
            raise SafetensorError("the tensors have shared memory")


# Reading


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is damaged"),
        ("[]", "an object is expected, not a list"),
        ("3", "an object is expected, not a int"),
        ('{"r": NaN}', "NaN is no number"),
        ('{"r": -Infinity}', "-Infinity is no number"),
        pytest.param('{"r": 1, "r": 2}', "'r' stands there twice", id="twice"),
        pytest.param(f'{{"{"k" * 9999}": 1, "{"k" * 9999}": 2}}', r"'k{70,99}\.\.\. stands there twice", id="long key"),
        ('{"a": {"r": 1, "r": 2}}', "'r' stands there twice"),
        ("[" * 99_999, "nested too deeply"),
        ('{"r": ' + "9" * 5000 + "}", "is damaged"),
    ],
)
def test_json_that_cannot_be_trusted_is_one_sentence(tmp_path, text, words):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(ValueError, match=words) as caught:
        read_json(tmp_path / "c.json", "write it again")
    assert str(caught.value).endswith("write it again") and "\n" not in str(caught.value)


def test_json_is_utf8_with_or_without_a_mark_and_never_too_large(tmp_path, monkeypatch):
    path = tmp_path / "c.json"
    for encoding in ("utf-8", "utf-8-sig"):
        path.write_text('{"name": "Zoë"}', encoding=encoding)
        assert read_json(path, "") == {"name": "Zoë"}
    path.write_text('{"name": "Zoë"}', encoding="latin-1")
    with pytest.raises(ValueError, match="is damaged"):
        read_json(path, "")
    path.write_text('{"name": "Zoë"}', encoding="utf-8")
    monkeypatch.setattr("lora_lab.disk.documents._MOST_JSON", 3)
    with pytest.raises(ValueError, match="bytes are too many"):
        read_json(path, "")


def test_what_is_no_file_is_named(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "empty").write_text("")
    for read in (read_json, read_safetensors):
        with pytest.raises(OSError, match="is a folder, where a file is expected: do so"):
            read(tmp_path / "folder", "do so")
        for name in ("loop", "broken"):
            with pytest.raises(OSError, match="is no file that can be read.*do so"):
                read(tmp_path / name, "do so")
        with pytest.raises(FileNotFoundError, match="no absent in .*do so"):
            read(tmp_path / "absent", "do so")
        with pytest.raises(ValueError, match="empty is damaged.*do so"):
            read(tmp_path / "empty", "do so")


# Names that are no files


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes with names")
def test_a_pipe_is_not_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="pipe', which is a device or a pipe: choose the name of a file"):
        with atomic_path(tmp_path / "pipe"):
            pass
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.mark.parametrize("write", [atomic_path, atomic_folder])
@pytest.mark.parametrize(("name", "kind", "words"), [("a" * 300, OSError, "too long"), ("a\0b", ValueError, "NUL")])
def test_a_name_that_nothing_can_have_is_one_sentence(tmp_path, write, name, kind, words):
    with pytest.raises(kind, match=f"{words}.*: .*choose another"):
        with write(tmp_path / name):
            pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", ["", "~", "~/adapter"])
def test_a_name_that_means_something_else_to_a_shell_writes_nothing(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)

    def within(write):
        with write(path):
            pytest.fail("it is written")

    for write in (writable_folder, *(partial(within, each) for each in (atomic_path, atomic_folder))):
        with pytest.raises(ValueError, match="^''.*: give a name" if not path else "'~.*expanduser"):
            write(path) if write is writable_folder else write()
    assert not os.listdir(tmp_path)
    assert writable_folder("~mine").is_dir()  # a name like another


def test_what_is_written_as_json_is_read_again_and_what_could_not_be_is_refused(tmp_path):
    content = {"ä": [1, 2.5, None], "a": "→"}
    write_json(tmp_path / "record.json", content, indent=2, sort_keys=True)
    raw = (tmp_path / "record.json").read_bytes()
    assert raw.startswith(b'{\n  "a"') and raw.endswith(b"}\n") and b"\r" not in raw
    for wrong, kind in (({"loss": float("nan")}, ValueError), ({"loss": {1}}, TypeError)):
        with pytest.raises(kind):
            write_json(tmp_path / "record.json", wrong)
    assert read_json(tmp_path / "record.json", "") == content
    write_json(tmp_path / "limits.json", {"limit": float("inf")}, finite=False)
    assert read_json(tmp_path / "limits.json", "", finite=False) == {"limit": float("inf")}
    assert len(os.listdir(tmp_path)) == 2


def test_a_file_in_a_folders_place_is_called_no_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="file', which is no folder: choose another name"):
        with atomic_folder(tmp_path / "file"):
            pass
    assert (tmp_path / "file").read_text() == "mine"


def test_a_key_that_stands_twice_among_very_many_is_found_at_once():
    """Comparing each with each would take a minute for a file of a megabyte, and hours for one of ten."""

    class Key(str):
        compared = 0

        def __eq__(self, other):
            Key.compared += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    keys = [Key(f"k{i}") for i in range(2000)]
    with pytest.raises(ValueError, match="'k1999' stands there twice"):
        documents._without_repeats([(key, 1) for key in (*keys, Key("k1999"))])
    assert Key.compared < 10_000
