"""What a class hands in: every file is somebody's notebook, or is said with the reason; nothing is ever unpacked."""

import os
import stat
import struct
import zipfile
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_lab.grading import archives, claims, files, folders, roster
from lora_lab.grading.exercise import Exercise
from lora_lab.grading.submissions import collect
from tests.grading.classroom import SVD, bytes_of_zip, folder_of, notebook, touch, zip_of

SCALING = notebook("scale")
DEADLINE = datetime(2026, 1, 10, 18).astimezone()


def who(handed_in):
    return {one.path: one.student for one in handed_in.submissions}


def why(handed_in, path):
    [one] = [each for each in handed_in.left if each.path == path]
    return one.why


def class_of(tmp_path, text):
    file = tmp_path / "roster.csv"
    file.write_text(text, encoding="utf-8")
    return roster.read(file)


# Names that platforms give


@pytest.mark.parametrize(
    ("path", "name", "id", "platform"),
    [
        ("Ada Lovelace_12345_assignsubmission_file_/01_svd.ipynb", "Ada Lovelace", "12345", "Moodle"),
        ("Ada Lovelace_12345_assignsubmission_file_01_svd.ipynb", "Ada Lovelace", "12345", "Moodle"),
        ("Anna_Maria Silva_7_assignsubmission_file_/x.ipynb", "Anna_Maria Silva", "7", "Moodle"),
        ("lovelaceada_late_123_456_01_svd-1.ipynb", "lovelaceada", "123", "Canvas"),
        ("lovelaceada_123_456_01_svd-1.ipynb", "lovelaceada", "123", "Canvas"),
        ("李明_9123_4456_01_svd.ipynb", "李明", "9123", "Canvas"),
        ("submission_123/01_svd.ipynb", "submission_123", "123", "Gradescope"),
        ("alice_01_svd (1).ipynb", "alice", "", ""),
        ("alice_01_svd-1.ipynb", "alice", "", ""),
        ("01_svd_alice.ipynb", "alice", "", ""),
        ("bob-smith-01-SVD-Copy1.ipynb", "bob-smith", "", ""),
        ("student-01.ipynb", "student-01", "", ""),
        ("01_svd.ipynb", "", "", ""),
        ("alice/01_svd.ipynb", "alice", "", ""),
    ],
)
def test_a_name_is_found_in_what_platforms_call_files(path, name, id, platform):
    claim = claims.read(path, None, ["01_svd", "02_scaling"])
    assert (claim.name, claim.id, claim.platform) == (name, id, platform)


@pytest.mark.parametrize(
    ("paths", "name"),
    [
        (["alice/01_svd.ipynb", "bob/01_svd.ipynb"], "alice"),
        (["Class/alice/hw/01_svd.ipynb", "Class/bob/hw/x.ipynb"], "alice"),
        (["A/alice/01_svd.ipynb", "A/bob/x.ipynb", "B/carol/x.ipynb"], "alice"),
        (["01_svd/alice/x.ipynb", "02_scaling/bob/x.ipynb"], "alice"),
        (["alice/new/01_svd.ipynb", "alice/old/01_svd.ipynb", "bob/new/x.ipynb", "carol/x.ipynb"], "alice"),
        (["alice/x.ipynb", "bob.ipynb"], "alice"),
        (["Submissions/alice_01_svd.ipynb", "Submissions/bob_01_svd.ipynb"], "alice"),
    ],
)
def test_the_folder_that_tells_students_apart_names_them(paths, name):
    exercises = ["01_svd", "02_scaling"]
    assert claims.read(paths[0], claims.level_of(paths, exercises), exercises).name == name


def test_canvas_and_the_deadline_each_make_a_file_late(tmp_path, course):
    place = folder_of(tmp_path / "in", {"lovelaceada_late_123_456_a.ipynb": SVD, "boolegeorge_777_456_b.ipynb": SVD})
    for deadline, late in (
        (None, {"lovelaceada"}),
        (datetime(2026, 1, 9).astimezone(), {"lovelaceada", "boolegeorge"}),
    ):
        found = collect(place, course, deadline=deadline).submissions
        assert {one.student for one in found if one.late} == late


# The roster


def test_a_student_is_found_by_any_column_in_any_order_of_the_names(tmp_path, course):
    people = class_of(
        tmp_path,
        "student;name;email;ID\nal1;Ada Lovelace;ada@example.org;9001\ngb2;George Boole;gb@example.org;9002\n"
        "lm3;李明;lm@example.org;9003\n",
    )
    given = {
        "Lovelace, Ada_12345_assignsubmission_file_/x.ipynb": "al1",
        "boolegeorge_555_456_y.ipynb": "gb2",
        "hw1 lm3 final.ipynb": "lm3",
    }
    found = collect(folder_of(tmp_path / "in", dict.fromkeys(given, SVD)), course, roster=people)
    assert who(found) == given and not found.left
    others = {"george.boole/x.ipynb": "gb2", "9001/x.ipynb": "al1", "李明/x.ipynb": "lm3"}
    assert who(collect(folder_of(tmp_path / "more", dict.fromkeys(others, SVD)), course, roster=people)) == others


def test_whoever_is_not_in_the_roster_or_could_be_two_is_said_and_not_guessed(tmp_path, course):
    people = class_of(tmp_path, "student,name\na1,Ann Lee\na2,Ann Lee\nb1,Bo Lee Kim\n")
    names = ["Ann Lee_1_assignsubmission_file_/x.ipynb", "Eve_2_assignsubmission_file_/x.ipynb", "a1_b1.ipynb"]
    found = collect(folder_of(tmp_path / "in", dict.fromkeys(names, SVD)), course, roster=people)
    assert not found.submissions and len(found.left) == 3
    assert why(found, names[0]) == "could be of 'a1' or 'a2', who are called the same"
    assert why(found, names[1]) == "is of 'Eve', who is not in the roster"
    assert why(found, names[2]) == "could be of 'a1' or 'b1', whose names all stand in its path"


def test_the_longest_name_that_stands_there_counts_and_that_is_noted(tmp_path, course):
    people = class_of(tmp_path, "student\nann lee\nann lee smith\nsmi\n")
    found = collect(folder_of(tmp_path / "in", {"hw Ann Lee Smith v2.ipynb": SVD}), course, roster=people)
    [one] = found.submissions
    assert one.student == "ann lee smith" and "by a part of its path" in one.note and "ann lee" in one.note


def test_the_name_of_a_group_is_nobodys(tmp_path, course):
    people = class_of(tmp_path, "student,section\nal,Section 1\nbo,Section 1\n")
    given = {"Section 1/al/01_svd.ipynb": "al", "Section 1/bo hw/01_svd.ipynb": "bo"}
    assert who(collect(folder_of(tmp_path / "in", dict.fromkeys(given, SVD)), course, roster=people)) == given


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name\nada\n", "none or several called 'student'"),
        ("student\nada\nada\n", "stands in the lines 2 and 3"),
        ("student,name\n,Ada\n", "line 2"),
        ("student\n\n", "names no student"),
        ("", "nothing"),
    ],
)
def test_a_roster_that_is_none_is_refused_in_one_sentence(tmp_path, text, said):
    with pytest.raises(ValueError, match=said):
        class_of(tmp_path, text)


def test_a_roster_in_another_encoding_says_how_to_save_it(tmp_path):
    (tmp_path / "r.csv").write_bytes("student\nJosé\n".encode("latin-1"))
    with pytest.raises(ValueError, match="CSV UTF-8"):
        roster.read(tmp_path / "r.csv")


# Which exercise, which file


def test_a_renamed_notebook_is_known_by_its_tasks_with_or_without_tags(tmp_path, course):
    given = {"al/final.ipynb": notebook("scale", tags=False), "bo/02_scaling.ipynb": SVD}
    found = collect(folder_of(tmp_path / "in", given), course).submissions
    assert {one.student: one.exercise for one in found} == {"al": "02_scaling", "bo": "01_svd"}


def test_a_notebook_of_no_or_of_two_exercises_is_said(tmp_path, course):
    given = {"al/a.ipynb": notebook("other"), "bo/b.ipynb": notebook("cut", "scale"), "cy/c.ipynb": SVD}
    found = collect(folder_of(tmp_path / "in", given), course)
    assert who(found) == {"cy/c.ipynb": "cy"}
    assert "none of the tasks" in why(found, "al/a.ipynb")
    assert "as many tasks of 01_svd as of 02_scaling" in why(found, "bo/b.ipynb")


def test_a_damaged_notebook_is_graded_as_what_its_name_says_so_that_it_is_refused_there(tmp_path, course):
    found = collect(folder_of(tmp_path / "in", {"al/01_svd.ipynb": b"{", "bo/x.ipynb": b"{"}), course)
    assert who(found) == {"al/01_svd.ipynb": "al"} and "no notebook that can be read" in why(found, "bo/x.ipynb")


def test_the_last_in_time_counts_and_the_others_are_said(tmp_path, course):
    place = folder_of(tmp_path / "in", {"al/a.ipynb": SVD, "al/b.ipynb": SVD + b" ", "bo/c.ipynb": SVD})
    touch(place / "al" / "a.ipynb", 11)
    found = collect(place, course, deadline=DEADLINE)
    last = next(one for one in found.submissions if one.student == "al")
    assert last.path == "al/a.ipynb" and last.late
    assert last.note == "the last of 2 files; an earlier one was in time"
    [left] = found.left
    assert left.kind == "superseded" and left.why == "is superseded by al/a.ipynb, last in time"


def test_at_the_same_time_the_last_name_counts_where_ten_is_more_than_two(tmp_path, course):
    given = {f"al/01_svd-{n}.ipynb": SVD + b" " * n for n in (1, 2, 10)} | {"bo/x.ipynb": SVD}
    found = collect(folder_of(tmp_path / "in", given), course)
    assert "al/01_svd-10.ipynb" in who(found) and len(found.left) == 2


def test_two_people_of_one_name_are_not_taken_for_one(tmp_path, course):
    names = [f"Ann Lee_{n}_assignsubmission_file_/x.ipynb" for n in (11, 22)]
    found = collect(folder_of(tmp_path / "in", dict.fromkeys(names, SVD)), course)
    assert not found.submissions and all("any of 2 people" in each.why for each in found.left)


SOME = ["al/01_svd.ipynb", "al/x.ipynb", "01_svd.ipynb", "bo/y.ipynb", "notes.txt", "__MACOSX/al/._x.ipynb"]
SOME += ["../e.ipynb", "cy/a.zip", "cy/empty.ipynb"]


@given(st.lists(st.sampled_from(SOME), unique=True))
def test_every_file_is_graded_or_said(tmp_path_factory, names):
    exercises = [Exercise("01_svd", "", ("cut", "energy"), frozenset(), {"cut": 1, "energy": 1})]
    place = tmp_path_factory.mktemp("class")
    path = zip_of(place / "in.zip", {name: b"" if "empty" in name else SVD for name in names})
    found = collect(path, exercises)
    assert sorted([*who(found), *(each.path for each in found.left)]) == sorted(names)
    assert all(each.why for each in found.left)
    assert os.listdir(place) == ["in.zip"]


# Folders


def test_links_devices_and_what_editors_keep_are_said_and_not_read(tmp_path, course):
    (tmp_path / "secret.ipynb").write_bytes(SVD)
    place = folder_of(tmp_path / "in", {"al/x.ipynb": SVD, "al/.ipynb_checkpoints/x.ipynb": SVD, "al/y.IPYNB": b" \n"})
    (place / "bo.ipynb").symlink_to(tmp_path / "secret.ipynb")
    (place / "linked").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(place / "pipe.ipynb")
    found = collect(place, course)
    assert who(found) == {"al/x.ipynb": "al"}
    assert "links are not followed" in why(found, "bo.ipynb") and "links are not followed" in why(found, "linked")
    assert "is a device or a pipe" in why(found, "pipe.ipynb")
    assert "left out" in why(found, "al/.ipynb_checkpoints/x.ipynb") and why(found, "al/y.IPYNB") == "is empty"


def test_a_file_that_cannot_be_read_is_said(tmp_path, course, monkeypatch):
    place = folder_of(tmp_path / "in", {"al/x.ipynb": SVD, "bo/x.ipynb": SVD})
    opened = os.open

    def refuse(path, *rest):
        if "bo" in str(path):
            raise PermissionError(13, "Permission denied")
        return opened(path, *rest)

    monkeypatch.setattr(folders.os, "open", refuse)
    found = collect(place, course)
    assert who(found) == {"al/x.ipynb": "al"} and why(found, "bo/x.ipynb") == "cannot be read (Permission denied)"


def test_results_of_an_earlier_run_are_not_handed_in(tmp_path, course):
    place = folder_of(tmp_path / "in", {"al/x.ipynb": SVD, "grades.cache/x.json": b"{}", "grades.csv": b"student"})
    assert not collect(place, course, leave=[place / "grades.csv", place / "grades.cache"]).left


def test_what_is_no_folder_zip_or_notebook_is_refused_in_one_sentence(tmp_path, course):
    (tmp_path / "x.txt").write_text("x")
    (tmp_path / "x.zip").write_text("x")
    for name, error in (("x.txt", ValueError), ("x.zip", ValueError), ("no", FileNotFoundError), ("", ValueError)):
        with pytest.raises(error):
            collect(tmp_path / name if name else "", course)


def test_more_than_a_class_is_refused(tmp_path, course, monkeypatch):
    place = folder_of(tmp_path / "in", {f"{n}/x.ipynb": SVD for n in range(4)})
    monkeypatch.setattr(folders, "MOST_FILES", 3)
    with pytest.raises(ValueError, match="over 3 files"):
        collect(place, course)
    monkeypatch.setattr(folders, "MOST_FILES", 100)
    monkeypatch.setattr(folders, "MOST_TOTAL", 3 * len(SVD))
    with pytest.raises(ValueError, match="bytes"):
        collect(place, course)


# Zips


def one_entry(tmp_path, name="al/01_svd.ipynb", content=SVD, change=lambda info: None, method=zipfile.ZIP_DEFLATED):
    path = tmp_path / "in.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        info = zipfile.ZipInfo(name, (2026, 1, 10, 12, 0, 0))
        info.compress_type = method
        change(info)
        archive.writestr(info, content)
    return path


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../../al/01_svd.ipynb", "'..'"),
        ("al\\..\\..\\01_svd.ipynb", "'..'"),
        ("/etc/01_svd.ipynb", "absolute"),
        ("\\\\host\\01_svd.ipynb", "absolute"),
        ("C:\\al\\01_svd.ipynb", "absolute"),
        ("-" * 60_000 + ".ipynb", "no file can have"),
        ("al/more.zip", "an archive within"),
        ("al/more.tar.gz", "an archive within"),
        ("__MACOSX/al/._01_svd.ipynb", "left out"),
        ("al/._01_svd.ipynb", "left out"),
        ("al/.ipynb_checkpoints/01_svd-checkpoint.ipynb", "left out"),
        ("al/notes.txt", "no notebook"),
    ],
)
def test_a_name_that_nobody_means_is_refused_by_name(tmp_path, course, name, said):
    found = collect(one_entry(tmp_path, name), course)
    assert not found.submissions and said in found.left[0].why


def test_a_link_in_a_zip_is_refused(tmp_path, course):
    def link(info):
        info.external_attr = (stat.S_IFLNK | 0o777) << 16

    assert "is a link" in collect(one_entry(tmp_path, content=b"/etc/passwd", change=link), course).left[0].why


def test_a_zip_bomb_is_refused_by_what_it_declares(tmp_path, course):
    bomb = collect(one_entry(tmp_path, content=b" " * 19_000_000), course).left[0].why
    assert "as a zip bomb does" in bomb
    assert "larger than" in collect(one_entry(tmp_path, content=b" " * 21_000_000), course).left[0].why


def test_a_zip_bomb_that_declares_little_gives_no_more_than_it_declares(tmp_path):
    path = one_entry(tmp_path, content=SVD + b" " * 1_000_000)
    data = path.read_bytes()
    size = struct.pack("<L", len(SVD) + 1_000_000)
    path.write_bytes(data.replace(size, struct.pack("<L", 100)))
    [file] = archives.read(path)
    assert file.content is None and "damaged" in file.why


def test_two_entries_of_one_name_are_both_refused(tmp_path, course):
    path = tmp_path / "in.zip"
    with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("al/01_svd.ipynb", SVD)
        archive.writestr("al/01_svd.ipynb", notebook("cut"))
        archive.writestr("bo/./x.ipynb", SVD)
        archive.writestr("bo/x.ipynb", SVD)
    found = collect(path, course)
    assert not found.submissions and len(found.left) == 4 and all("twice" in each.why for each in found.left)


def test_an_encrypted_or_otherwise_compressed_entry_is_refused(tmp_path, course):
    path = one_entry(tmp_path)
    data = bytearray(path.read_bytes())
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + at] |= 1
    path.write_bytes(data)
    assert "hand it in without a password" in collect(path, course).left[0].why
    assert "compressed in a way" in collect(one_entry(tmp_path, method=zipfile.ZIP_BZIP2), course).left[0].why


def test_a_damaged_entry_costs_only_itself(tmp_path, course):
    path = zip_of(tmp_path / "in.zip", {"al/01_svd.ipynb": SVD, "bo/01_svd.ipynb": SVD})
    data = bytearray(path.read_bytes())
    data[data.index(b"01_svd.ipynb") + 40] ^= 0xFF
    path.write_bytes(data)
    found = collect(path, course)
    assert who(found) == {"bo/01_svd.ipynb": "bo"} and "damaged in the zip" in why(found, "al/01_svd.ipynb")


def test_a_name_in_utf8_is_read_whether_or_not_the_zip_says_so(tmp_path, course):
    path = zip_of(tmp_path / "in.zip", {"José Ñandú_1_assignsubmission_file_/01_svd.ipynb": SVD})
    data = bytearray(path.read_bytes())
    for signature, at in ((b"PK\x03\x04", 7), (b"PK\x01\x02", 9)):
        assert data[data.index(signature) + at] & 8
        data[data.index(signature) + at] &= ~8 & 0xFF
    for content in (path.read_bytes(), bytes(data)):
        path.write_bytes(content)
        assert list(who(collect(path, course)).values()) == ["José Ñandú"]


def test_a_zip_that_says_no_time_is_not_late_and_that_is_noted(tmp_path, course):
    path = one_entry(tmp_path, change=lambda info: setattr(info, "date_time", (1980, 1, 1, 0, 0, 0)))
    [one] = collect(path, course, deadline=DEADLINE).submissions
    assert not one.late and one.modified is None and "no time" in one.note


def test_the_exact_time_in_a_zip_counts_before_the_one_without_zone(tmp_path):
    exact = int(datetime(2026, 1, 3, 4, 5, 6).timestamp())

    def add(info):
        info.extra = struct.pack("<HHBi", 0x5455, 5, 1, exact)

    [file] = archives.read(one_entry(tmp_path, change=add))
    assert file.modified.timestamp() == exact


def test_a_zip_in_a_zip_and_in_a_folder_is_said(tmp_path, course):
    inner = bytes_of_zip({"01_svd.ipynb": SVD})
    assert "unpack it first" in collect(zip_of(tmp_path / "a.zip", {"al/b.zip": inner}), course).left[0].why
    assert "unpack it first" in collect(folder_of(tmp_path / "in", {"al/b.zip": inner}), course).left[0].why


def test_a_name_is_shown_on_one_line_that_no_terminal_obeys():
    assert files.shown("a\x1b[31m\n b\u202e李") == "a\\x1b[31m b\\u202e李" and len(files.shown("x" * 999)) == 300


def test_a_zip_with_many_entries_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MOST_FILES", 3)
    with pytest.raises(ValueError, match="over 3 files"):
        list(archives.read(zip_of(tmp_path / "in.zip", {f"{n}.txt": b"" for n in range(4)})))


def test_one_notebook_may_be_graded_alone(tmp_path, course):
    [one] = collect(folder_of(tmp_path / "in", {"al_01_svd.ipynb": SVD}) / "al_01_svd.ipynb", course).submissions
    assert one.student == "al" and isinstance(Path(one.path), Path)


def test_a_zips_exact_time_counts_only_where_the_entry_says_that_it_is_there(tmp_path):
    exact = int(datetime(2026, 1, 10, 18, 0, 1).astimezone().timestamp())

    def without_flag(info):
        info.extra = struct.pack("<HHBi", 0x5455, 5, 2, exact)  # the time of reading, not of writing

    [file] = archives.read(one_entry(tmp_path, change=without_flag))
    assert file.modified == datetime(2026, 1, 10, 12).astimezone()


def test_of_folders_that_tell_as_much_the_outer_one_is_the_students():
    paths = ["al/first/a.ipynb", "bo/second/a.ipynb"]
    assert claims.level_of(paths, []) == 0
    assert claims.level_of([f"all/{path}" for path in paths], []) == 1
