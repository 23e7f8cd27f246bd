"""A half-written file never replaces a whole one, and a folder that cannot be written is refused in one sentence."""

import errno
import os

import pytest

from lora_lab.files import atomic_folder, atomic_path, writable_folder


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
        with pytest.raises(OSError, match=r"cannot write in the folder '.*file.*choose another folder") as caught:
            attempt()
        assert "\n" not in str(caught.value)


def test_a_read_only_folder_is_refused(tmp_path, monkeypatch):
    def refuse(**_):  # what a read-only disk answers, to root as well
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("lora_lab.files.tempfile.TemporaryFile", refuse)
    with pytest.raises(OSError, match="Read-only file system.*choose another folder"):
        writable_folder(tmp_path)
