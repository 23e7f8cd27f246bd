"""A release: what is tagged was tested byte for byte, and a step that fails leaves the repository as it was."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import release
import tested
from tested import git

import lora_lab
from lora_lab.authoring.pages import repository

from tests import run

ROOT = Path(release.__file__).parents[1]
BROKEN = "a step that fails"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def commit(root: Path, message: str = "a change") -> str:
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", message)
    return git(root, "rev-parse", "HEAD")


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A repository with the files that a release changes."""
    for variable in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(variable, "somebody@example.org")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    place = tmp_path / "a repository"
    write(place / "lora_lab/__init__.py", '"""Of __version__ = "no"."""\n\n__version__ = "0.2.0"  # read from here\n')
    write(place / "CITATION.cff", "cff-version: 1.2.0\nversion: 0.2.0\n")
    write(place / "course/repository.toml", '# ref = "v0.2.0"\nref = "main"\n')
    write(place / "CHANGELOG.md", "# Changes\n\n## 0.3.0\n\n- New.\n\n## 0.2.0\n")
    write(place / "notebooks/00.ipynb", "leads to main\n")
    write(place / ".gitignore", "/dist/\n/build/\n")
    subprocess.run(["git", "init", "--quiet", "--initial-branch", "main", place], check=True)
    commit(place, "all of it")
    return place


def rebuild(copy: Path) -> None:
    ref = (copy / "course/repository.toml").read_text(encoding="utf-8").split('"')[-2]
    write(copy / "notebooks/00.ipynb", f"leads to {ref}\n")


def make(copy: Path, into: Path) -> None:
    write(copy / "build/left", "behind")
    write(copy / "CHANGELOG.md", "scribbled over")
    write(into / "wheel.whl", (copy / "notebooks/00.ipynb").read_text(encoding="utf-8"))


def fail(*_: Path) -> None:
    raise ValueError(BROKEN)


def pass_tests(root: Path) -> None:
    """As `make release`, when every part has passed."""
    tested.record(root, tested.tree(root), {"lint": 1.26}, {"cores": 2})


def state(root: Path) -> list[object]:
    """Everything that a failed step must leave alone."""
    files = {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and ".git" not in path.parts}
    questions = (["show-ref"], ["status", "--porcelain", "--branch"], ["worktree", "list"], ["stash", "list"])
    return [files, *[git(root, *question) for question in questions]]


def prepared(root: Path) -> None:
    release.prepare(root, "0.3.0", rebuild)
    pass_tests(root)
    commit(root, "the record")


# ── prepare ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_preparing_is_one_commit_that_says_the_version_and_leads_notebooks_to_its_tag(root):
    before = git(root, "rev-parse", "HEAD")
    assert "make release" in release.prepare(root, "0.3.0", rebuild)
    assert git(root, "rev-parse", "HEAD~1") == before and git(root, "branch", "--show-current") == "main"
    changed = set(git(root, "diff", "--name-only", "HEAD~1").splitlines())
    assert changed == {"lora_lab/__init__.py", "CITATION.cff", "course/repository.toml", "notebooks/00.ipynb"}
    assert '"no"."""\n\n__version__ = "0.3.0"  # read from here\n' in (root / "lora_lab/__init__.py").read_text()
    assert (root / "CITATION.cff").read_text() == "cff-version: 1.2.0\nversion: 0.3.0\n"
    assert (root / "course/repository.toml").read_text() == '# ref = "v0.2.0"\nref = "v0.3.0"\n'
    assert (root / "notebooks/00.ipynb").read_text() == "leads to v0.3.0\n"
    assert not git(root, "status", "--porcelain") and not git(root, "tag")


@pytest.mark.parametrize(
    ("version", "sentence"),
    [
        ("three", "'three' is no version"),
        ("", "'' is no version"),
        ("v0.3.0", "is written otherwise: give 0.3.0"),
        ("0.3.0-rc1", "is written otherwise: give 0.3.0rc1"),
        ("0.3.0+cpu", "is written otherwise: give 0.3.0"),
        ("0.1.9", "0.1.9 is older than 0.2.0"),
        ("0.4.0", "CHANGELOG.md begins with 0.3.0: tell there of 0.4.0"),
        ("0.2.0", "CHANGELOG.md begins with 0.3.0: tell there of 0.2.0"),
    ],
)
def test_a_version_that_cannot_be_released_is_refused(root, version, sentence):
    before = state(root)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        release.prepare(root, version, rebuild)
    assert state(root) == before


@pytest.mark.parametrize("tag", ["v0.3.0", "v0.3", "v0.4.0"])
def test_a_version_that_is_not_newer_than_every_tag_is_refused(root, tag):
    git(root, "tag", "volume")  # is no version's
    git(root, "tag", "v2-notes")
    git(root, "tag", tag)
    with pytest.raises(ValueError, match=f"0.3.0 is not newer than the tag {tag}"):
        release.prepare(root, "0.3.0", rebuild)


@pytest.mark.parametrize("name", ["CHANGELOG.md", "new.txt"])
def test_a_tree_with_something_not_committed_is_refused_by_its_name(root, name):
    write(root / name, "not committed")
    before = state(root)
    with pytest.raises(ValueError, match=f"not committed: {name}; commit it"):
        release.prepare(root, "0.3.0", rebuild)
    assert state(root) == before


def test_without_a_branch_nothing_is_prepared(root):
    git(root, "checkout", "--quiet", "--detach")
    with pytest.raises(ValueError, match="no branch is checked out"):
        release.prepare(root, "0.3.0", rebuild)


def test_preparing_twice_is_refused(root):
    release.prepare(root, "0.3.0", rebuild)
    with pytest.raises(ValueError, match="0.3.0 is prepared already: run make release"):
        release.prepare(root, "0.3.0", rebuild)


def test_versions_that_disagree_are_refused(root):
    write(root / "CITATION.cff", "version: 0.1.0\n")
    commit(root)
    with pytest.raises(ValueError, match="one value is wanted"):
        release.prepare(root, "0.3.0", rebuild)


def test_preparing_that_fails_leaves_the_repository_as_it_was(root):
    before = state(root)
    with pytest.raises(ValueError, match=BROKEN):
        release.prepare(root, "0.3.0", fail)
    assert state(root) == before


def test_what_is_committed_meanwhile_is_not_lost(root):
    def slow(copy: Path) -> None:
        rebuild(copy)
        write(root / "CHANGELOG.md", "meanwhile")
        commit(root, "meanwhile")

    with pytest.raises(ValueError, match="git merge"):
        release.prepare(root, "0.3.0", slow)
    assert git(root, "log", "--format=%s", "-1") == "meanwhile" and "0.2.0" in (root / "CITATION.cff").read_text()


# ── the record ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_record_can_lie_in_the_tree_that_it_names(root):
    number = tested.tree(root)
    pass_tests(root)
    commit(root)
    assert tested.tree(root) == number == json.loads((root / tested.RECORD).read_text())["tree"]
    tested.refuse_untested(root)


@pytest.mark.parametrize(
    "change",
    [
        lambda root: write(root / "CHANGELOG.md", "x"),
        lambda root: (root / "CITATION.cff").rename(root / "C.cff"),
        lambda root: (root / "CITATION.cff").unlink(),
        lambda root: write(root / "course/release.json", "{}"),
        pytest.param(
            lambda root: (root / "CITATION.cff").chmod(0o755),
            marks=pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes"),
        ),
    ],
    ids=["content", "name", "one less", "one more", "mode"],
)
def test_every_other_change_makes_another_tree(root, change):
    pass_tests(root)
    commit(root)
    number = tested.tree(root)
    change(root)
    commit(root)
    assert tested.tree(root) != number
    with pytest.raises(ValueError, match="is of another tree"):
        tested.refuse_untested(root)


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
def test_anyone_can_count_the_trees_number_with_the_documented_command(root):
    pass_tests(root)
    commit(root)
    command = next(line.strip() for line in tested.__doc__.splitlines() if "sha256sum" in line and "git" in line)
    said = subprocess.run(["sh", "-c", command.replace("v0.3.0", "HEAD")], cwd=root, capture_output=True, text=True)
    assert said.stdout.split()[0] == tested.tree(root)


def test_a_record_says_commit_seconds_and_machine(root):
    pass_tests(root)
    content = json.loads((root / tested.RECORD).read_text())
    assert content.pop("tree")
    assert content == {"commit": git(root, "rev-parse", "HEAD"), "seconds": {"lint": 1}, "machine": {"cores": 2}}


def test_a_tree_that_changed_while_it_was_tested_is_not_recorded(root):
    number = tested.tree(root)
    write(root / "CHANGELOG.md", "x")
    with pytest.raises(ValueError, match=r"not committed: CHANGELOG\.md"):
        tested.record(root, number, {}, {})
    commit(root)
    with pytest.raises(ValueError, match="run them again"):
        tested.record(root, number, {}, {})
    assert not (root / tested.RECORD).exists()


@pytest.fixture
def parts(root, monkeypatch):
    """The run's own code over the small repository, with parts that take no time."""
    for name, content in {
        "good.py": "",
        "bad.py": "raise SystemExit(1)",
        "dirt.py": "open('dirt', 'w').close()",
    }.items():
        write(root / name, content)
    commit(root)
    monkeypatch.setattr(run, "ROOT", root)
    monkeypatch.setattr(run, "PARTS", {"quick": ["good.py"], "long": ["good.py"]})
    monkeypatch.setattr(run, "ALL", ["quick"])
    monkeypatch.setattr(run, "RELEASE", ["long"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("LORA_LAB_REQUIRE", "")
    return run.PARTS


def test_make_release_runs_every_part_and_records_the_tree(root, parts, capsys):
    assert run.main(["release"]) == 0
    assert list(json.loads((root / tested.RECORD).read_text())["seconds"]) == ["quick", "long"]
    assert os.environ["LORA_LAB_REQUIRE"] == run.REQUIRED  # no skip counts as passed
    assert tested.uncommitted(root) == [tested.RECORD] and "commit it" in capsys.readouterr().out


@pytest.mark.parametrize("part", ["quick", "long"])
def test_a_part_that_fails_leaves_no_record(root, parts, part):
    parts[part] = ["bad.py"]
    assert run.main(["release"]) == 1
    assert not (root / tested.RECORD).exists()


def test_make_release_refuses_a_tree_that_is_not_committed_before_it_takes_its_time(root, parts, capsys):
    write(root / "new.txt", "")
    parts["quick"] = ["dirt.py"]
    assert run.main(["release"]) == 2
    assert "not committed: new.txt" in capsys.readouterr().err and not (root / "dirt").exists()


def test_tests_that_leave_dirt_leave_no_record(root, parts, capsys):
    parts["quick"] = ["dirt.py"]
    assert run.main(["release"]) == 2
    assert "not committed: dirt" in capsys.readouterr().err and not (root / tested.RECORD).exists()


def test_every_part_belongs_to_a_release():
    assert {*run.ALL, *run.RELEASE} == set(run.PARTS) and set(run.CHECK) <= set(run.ALL)


# ── publish ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_publishing_tags_what_was_tested_and_leads_notebooks_back_to_the_branch(root):
    prepared(root)
    head = git(root, "rev-parse", "HEAD")
    said = release.publish(root, rebuild, make)
    assert git(root, "rev-parse", "v0.3.0^{commit}") == head == git(root, "rev-parse", "main~1")
    assert git(root, "cat-file", "-t", "v0.3.0") == "tag"  # with who and when
    assert git(root, "show", "v0.3.0:notebooks/00.ipynb") == "leads to v0.3.0"
    changed = set(git(root, "diff", "--name-only", "v0.3.0", "main").splitlines())
    assert changed == {"course/repository.toml", "notebooks/00.ipynb"}
    assert (root / "notebooks/00.ipynb").read_text() == "leads to main\n"
    assert (root / "dist/v0.3.0/wheel.whl").read_text() == "leads to v0.3.0\n"
    assert "git push --atomic origin main v0.3.0" in said and "wheel.whl" in said
    assert not git(root, "status", "--porcelain") and len(git(root, "worktree", "list").splitlines()) == 1


def test_the_release_after_goes_the_same_way(root):
    prepared(root)
    release.publish(root, rebuild, make)
    write(root / "CHANGELOG.md", "## 0.4.0\n\n## 0.3.0\n")
    commit(root)
    release.prepare(root, "0.4.0", rebuild)
    with pytest.raises(ValueError, match="is of another tree"):  # the record of 0.3.0
        release.publish(root, rebuild, make)
    pass_tests(root)
    commit(root)
    release.publish(root, rebuild, make)
    assert git(root, "tag").splitlines() == ["v0.3.0", "v0.4.0"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda root: None, "nothing says that this tree was tested"),
        (lambda root: (pass_tests(root), commit(root), write(root / "x", ""), commit(root)), "is of another tree"),
        (lambda root: pass_tests(root), "is not committed: git add tests/records/release.json"),
        (lambda root: (pass_tests(root), write(root / "x", "")), "not committed"),
        (lambda root: (write(root / tested.RECORD, "{"), commit(root)), "release.json"),
        (lambda root: (pass_tests(root), commit(root), git(root, "tag", "v0.3.0")), "is not newer than the tag"),
        (lambda root: (pass_tests(root), commit(root), write(root / "dist/v0.3.0/x", "")), "is there already"),
        (lambda root: (pass_tests(root), commit(root), git(root, "checkout", "--quiet", "--detach")), "no branch"),
    ],
    ids=["untested", "another tree", "open record", "dirty", "damaged", "tagged", "made", "no branch"],
)
def test_what_cannot_be_published_is_refused_and_stays_as_it_is(root, change, sentence):
    release.prepare(root, "0.3.0", rebuild)
    change(root)
    before = state(root)
    with pytest.raises(ValueError, match=sentence):
        release.publish(root, rebuild, make)
    assert state(root) == before


def test_a_tree_that_was_tested_but_not_prepared_is_not_published(root):
    write(root / "CHANGELOG.md", "## 0.2.0\n")
    commit(root)
    pass_tests(root)
    commit(root)
    with pytest.raises(ValueError, match=r"notebooks lead to main and not to v0\.2\.0: prepare 0\.2\.0 first"):
        release.publish(root, rebuild, make)


@pytest.mark.parametrize("broken", ["rebuild", "make"])
def test_publishing_that_fails_leaves_the_repository_as_it_was(root, broken):
    prepared(root)
    before = state(root)
    with pytest.raises(ValueError, match=BROKEN):
        release.publish(root, fail if broken == "rebuild" else rebuild, fail if broken == "make" else make)
    assert state(root) == before


def test_publishing_is_undone_when_the_branch_has_moved_meanwhile(root):
    prepared(root)

    def slow(copy: Path, into: Path) -> None:
        make(copy, into)
        write(root / "CHANGELOG.md", "meanwhile")
        commit(root, "meanwhile")

    with pytest.raises(ValueError, match="git merge"):
        release.publish(root, rebuild, slow)
    assert not git(root, "tag") and not (root / "dist/v0.3.0").exists()
    assert git(root, "log", "--format=%s", "-1") == "meanwhile"


# ── the command, and what it makes ──────────────────────────────────────────────────────────────────────────────────


def test_the_command_says_in_a_sentence_that_nothing_was_done(root, monkeypatch, capsys):
    monkeypatch.setattr(release, "ROOT", root)
    assert release.main(["prepare", "three"]) == 2
    assert capsys.readouterr().err.startswith("nothing is done: 'three' is no version")
    assert release.main(["publish"]) == 2
    assert "nothing says that this tree was tested" in capsys.readouterr().err


def test_version_and_ref_are_found_where_they_stand():
    assert release._get(ROOT, release.VERSIONS) == lora_lab.__version__
    assert release._get(ROOT, release.REF) == repository(ROOT)["ref"]


@pytest.mark.parametrize("kind", release.PAGES)
def test_what_is_handed_out_is_made_as_the_makefile_makes_it(kind):
    """By the same command, as soon as there is one."""
    recipes = dict(re.findall(r"^([a-z-]+):[^\n]*\n((?:\t[^\n]*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    _, command = release.PAGES[kind]
    assert kind not in recipes or command in recipes[kind]


def test_a_step_that_python_fails_at_is_named(tmp_path):
    with pytest.raises(ValueError, match="python -c raise SystemExit.* ended with status 3"):
        release._python(tmp_path, "-c", "raise SystemExit(3)")


@pytest.mark.slow
def test_the_packages_say_what_an_index_accepts_and_hold_the_course(tmp_path):
    copy, into = tmp_path / "copy", tmp_path / "made"
    into.mkdir()
    for name in git(ROOT, "ls-files", "-co", "--exclude-standard").splitlines():
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    release.make_packages(copy, into)
    [wheel] = into.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("course/workbook", "exercises", "notebooks"):
        for notebook in (ROOT / folder).glob("*.ipynb"):
            assert f"lora_lab/material/{folder}/{notebook.name}" in inside
    assert {name.split("/")[0].split("-")[0] for name in inside} == {"lora_lab"}
    assert len(list(into.iterdir())) == 2
