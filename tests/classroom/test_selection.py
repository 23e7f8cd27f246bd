"""Which wheels a pack holds: for each target what it needs there, in the version that was tested, or one sentence."""

import hashlib
import random

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from lora_lab.classroom import selection
from lora_lab.classroom.packing import Places, fetch, files_of
from lora_lab.classroom.selection import pins, refuse_cuda, select
from lora_lab.classroom.shelf import Shelf
from lora_lab.classroom.targets import PLATFORMS, PYTHONS, Target
from lora_lab.network import PipSettings
from tests.helpers.package_index import Index, serve
from tests.helpers.wheels import looking_into, wheel

LINUX, WINDOWS, MAC = Target("linux", "3.12"), Target("windows", "3.12"), Target("mac-arm", "3.12")


@pytest.fixture
def folder(tmp_path):
    wheel(tmp_path / "wheels", "pip", "26.3")
    return tmp_path / "wheels"


def chosen(folder, target, *asked, **versions):
    """The names of the wheels, without pip's."""
    shelf = Shelf(looking_into(folder), folder.parent)
    known = pins("\n".join(f"{name}=={version}" for name, version in {"pip": "26.3", **versions}.items()))
    found = select(target, map(Requirement, asked), known, shelf)
    assert found.wheels.pop("pip").name == "pip-26.3-py3-none-any.whl"
    return [offer.name for _, offer in sorted(found.wheels.items())]


def test_a_requirements_marker_is_asked_for_the_target_and_not_for_this_machine(folder):
    wheel(folder, "a", needs=['w; sys_platform == "win32"', 'm; platform_system == "Darwin"', 'u; os_name == "posix"'])
    for name in "wmu":
        wheel(folder, name)
    there = {target.platform: chosen(folder, target, "a", a=1, w=1, m=1, u=1) for target in (LINUX, WINDOWS, MAC)}
    assert {platform: "".join(name[0] for name in names) for platform, names in there.items()} == {
        "linux": "au",
        "windows": "aw",
        "mac-arm": "amu",
    }


def test_a_marker_on_the_python_is_asked_for_each_python(folder):
    wheel(folder, "a", needs=['b; python_version < "3.13"', 'c; python_full_version < "3.12.4"'])
    wheel(folder, "b"), wheel(folder, "c")
    of = {python: chosen(folder, Target("linux", python), "a", a=1, b=1, c=1) for python in PYTHONS}
    assert [len(of[python]) for python in PYTHONS] == [3, 3, 1, 1]  # which patch release 3.12 is nobody knows


def test_extras_that_are_asked_later_bring_what_they_need(folder):
    wheel(folder, "a", needs=["b", "c"]), wheel(folder, "c", needs=["b[More_Of]"])
    wheel(folder, "b", needs=['d; extra == "more-of"'], extras=["more-of"]), wheel(folder, "d")
    assert [name[0] for name in chosen(folder, LINUX, "a", a=1, b=1, c=1, d=1)] == [*"abcd"]


def test_packages_that_need_one_another_end(folder):
    wheel(folder, "a", needs=["b"]), wheel(folder, "b", needs=["a"])
    assert len(chosen(folder, LINUX, "a", a=1, b=1)) == 2


def test_the_version_that_was_tested_is_taken_and_not_the_newest(folder):
    wheel(folder, "a", "1.0"), wheel(folder, "a", "2.0")
    assert chosen(folder, LINUX, "a", a="1.0") == ["a-1.0-py3-none-any.whl"]


def test_the_wheel_that_fits_best_is_taken(folder):
    for tag in ("py3-none-any", "cp312-cp312-manylinux_2_17_x86_64", "cp312-cp312-manylinux_2_99_x86_64"):
        wheel(folder, "a", tag=tag)
    for tag in ("cp313-cp313-manylinux_2_17_x86_64", "cp312-cp312t-manylinux_2_17_x86_64", "cp311-abi3-win_amd64"):
        wheel(folder, "a", tag=tag)
    (
        wheel(folder, "a", tag="cp312-cp312-macosx_11_0_universal2"),
        wheel(folder, "a", tag="cp312-cp312-macosx_15_0_arm64"),
    )
    assert chosen(folder, LINUX, "a", a=1) == ["a-1.0-cp312-cp312-manylinux_2_17_x86_64.whl"]
    assert chosen(folder, WINDOWS, "a", a=1) == ["a-1.0-cp311-abi3-win_amd64.whl"]
    assert chosen(folder, MAC, "a", a=1) == ["a-1.0-cp312-cp312-macosx_11_0_universal2.whl"]
    assert chosen(folder, Target("linux-arm", "3.12"), "a", a=1) == ["a-1.0-py3-none-any.whl"]


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_target_has_tags_of_its_own_python_and_machine_first(platform):
    first = Target(platform, "3.13").tags()[0]
    assert (first.interpreter, first.abi) == ("cp313", "cp313")
    machine = {"windows": "amd64"}.get(platform, PLATFORMS[platform].machine)
    assert first.platform.endswith(machine)


# What cannot be


@pytest.mark.parametrize(
    ("needs", "versions", "words"),
    [
        (["b"], {}, "has no version of b, which linux, Python 3.12 needs: add a line b"),
        (["b>=2"], {"b": 1}, "has b 1, and b>=2 is needed for linux, Python 3.12"),
        (["b"], {"b": 3}, r"no wheel of b==3 for linux, Python 3.12 \(its source at most\).*--find-links"),
        (["w"], {"w": 1}, "no wheel of w==1 for linux"),
        (["old"], {"old": 1}, "old 1.0 needs Python <3.12, and not 3.12: leave that one out"),
        (["nobody"], {"nobody": 1}, "nobody cannot be had"),
        (["b (=1"], {}, "a says that it needs .b .=1., which is no requirement"),
    ],
)
def test_what_cannot_be_had_is_named_with_a_way_out(folder, needs, versions, words):
    wheel(folder, "a", needs=needs), wheel(folder, "b"), wheel(folder, "w", tag="cp312-cp312-win_amd64")
    (folder / "b-3.tar.gz").write_bytes(b"its source")
    wheel(folder, "old", python="<3.12")
    with pytest.raises((ValueError, ConnectionError), match=words) as caught:
        chosen(folder, LINUX, "a", a=1, **versions)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("line", ["a>=1", "a", "a==x.y", "-r other.txt", "a==1; python_version > '3'"])
def test_a_constraint_that_is_no_version_is_refused(line):
    with pytest.raises(ValueError, match="must be name==version"):
        pins(f"# a comment\n\nb==1  # another\n{line}\n")


def test_a_file_that_is_no_wheel_is_named(folder):
    (folder / "a-1.0-py3-none-any.whl").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ValueError, match="is no wheel that can be read"):
        chosen(folder, LINUX, "a", a=1)


# torch, with CUDA and without


def torch(folder, version="2.13.0", tag="cp312-cp312-manylinux_2_28_x86_64"):
    cuda = ["nvidia-cublas==1.5", "cuda-toolkit[rt]==2"] if "+" not in version and "linux" in tag else []
    wheel(folder, "torch", version, cuda, tag=tag, files={"torch/x": bytes(3_000_000)})
    wheel(folder, "nvidia-cublas", "1.4"), wheel(folder, "nvidia-cublas", "1.5", files={"y": bytes(40_000_000)})
    wheel(folder, "nvidia-rt", "3"), wheel(folder, "nvidia-rt", "4")
    wheel(folder, "cuda-toolkit", "2", ['nvidia-rt<4; extra == "rt"'], extras=["rt"])


def test_cuda_comes_in_the_versions_that_torch_says_and_is_refused_with_its_size_unless_asked_for(folder):
    torch(folder)
    shelf = Shelf(looking_into(folder), folder.parent)
    found = select(LINUX, [Requirement("torch")], pins("pip==26.3\ntorch==2.13.0"), shelf)
    assert {offer.name.rsplit("-", 3)[0] for offer in found.cuda.values()} == {
        "nvidia_cublas-1.5",
        "nvidia_rt-3",
        "cuda_toolkit-2",
    }
    with pytest.raises(
        ValueError, match=r"brings 3 nvidia and cuda wheels, 0.0 GB .*--torch-index .*--with-cuda"
    ) as it:
        refuse_cuda([found])
    assert selection.CPU_INDEX in str(it.value)
    refuse_cuda([select(WINDOWS, [], pins("pip==26.3"), shelf)])


def test_a_torch_for_cpus_is_the_version_that_was_tested(folder):
    torch(folder, "2.13.0+cpu")
    shelf = Shelf(looking_into(folder), folder.parent)
    found = select(LINUX, [Requirement("torch")], pins("pip==26.3\ntorch==2.13.0"), shelf)
    assert "+cpu" in found.wheels["torch"].name and not found.cuda


def test_the_index_for_torch_is_asked_for_torch_on_linux_and_for_nothing_else(folder, tmp_path):
    torch(folder), torch(folder, tag="cp312-cp312-win_amd64"), wheel(folder, "a")
    cpu = wheel(tmp_path / "other", "torch", "2.13.0+cpu", tag="cp312-cp312-manylinux_2_28_x86_64")
    with serve(Index({cpu.name: cpu.read_bytes()}, form="json+")) as index:
        places = Places(torch_index=index.address)
        shelf = places.shelf(looking_into(folder), tmp_path)
        known = pins("pip==26.3\ntorch==2.13.0\na==1")
        of = {t: select(t, [Requirement("torch"), Requirement("a")], known, shelf) for t in (LINUX, WINDOWS)}
    assert of[LINUX].wheels["torch"].name == cpu.name and not of[LINUX].cuda
    assert of[WINDOWS].wheels["torch"].name == "torch-2.13.0-cp312-cp312-win_amd64.whl"
    assert {path.split("/")[2] for path, _ in index.asked if path.endswith("/")} == {"torch"}


@pytest.mark.parametrize("address", ["cpu", "ftp://a/b", "http://", "https://a b/c", "http://[", "file.html"])
def test_what_is_no_address_is_refused(address, tmp_path):
    for places in (Places(index=address), Places(torch_index=address)):
        with pytest.raises(ValueError, match="is no address"):
            places.shelf(PipSettings({}), tmp_path)


# From an index to the disk


@pytest.fixture
def served(folder, tmp_path):
    one = wheel(tmp_path, "a", files={"a/data": random.Random(0).randbytes(200_000)})
    with serve(Index({each.name: each.read_bytes() for each in (one, folder / "pip-26.3-py3-none-any.whl")})) as index:
        index.form = "json+"
        yield index


def planned(index, cache):
    cache.mkdir(exist_ok=True)
    shelf = Shelf(PipSettings({":env:.index-url": index.address}), cache)
    found = select(LINUX, [Requirement("a")], pins("pip==26.3\na==1"), shelf)
    return found, shelf


def test_what_is_fetched_has_the_hash_that_the_index_says_and_is_not_fetched_twice(served, tmp_path):
    found, shelf = planned(served, tmp_path / "cache")
    assert found.size == sum(map(len, served.files.values()))
    files = fetch(files_of([found]), shelf)
    assert {name: path.read_bytes() for name, path in files.items()} == served.files
    served.asked.clear()
    fetch(files_of([found]), shelf)
    assert not [path for path, _ in served.asked if path.endswith(".whl")]


def test_a_broken_connection_is_gone_on_with(served, tmp_path):
    found, shelf = planned(served, tmp_path)
    for kept in tmp_path.glob("*.whl"):
        kept.unlink()
    served.breaks_after = [50_000]
    files = fetch(files_of([found]), shelf)
    assert files["a-1.0-py3-none-any.whl"].read_bytes() == served.files["a-1.0-py3-none-any.whl"]
    assert "bytes=50000-" in {asked for _, asked in served.asked}


def test_another_file_than_the_index_says_is_refused(served, tmp_path):
    found, shelf = planned(served, tmp_path)
    name = "a-1.0-py3-none-any.whl"
    (tmp_path / name).unlink()
    served.files[name] = bytes(len(served.files[name]))
    with pytest.raises(ConnectionError, match="another SHA-256.*goes on from there"):
        fetch(files_of([found]), shelf)
    assert not (tmp_path / name).exists()


def test_an_index_without_hashes_is_not_trusted(served, tmp_path):
    served.form = "<a href='../../files/a-1.0-py3-none-any.whl'>a</a><a href='../../files/pip-26.3-py3-none-any.whl'>"
    with pytest.raises(ValueError, match="says no SHA-256 of .*--find-links"):
        planned(served, tmp_path)


def test_a_page_that_says_no_sizes_costs_one_question_for_each_file(served, tmp_path):
    links = "".join(
        f"<a href='../../files/{name}#sha256={hashlib.sha256(content).hexdigest()}'>"
        for name, content in served.files.items()
    )
    served.form = links
    found, _ = planned(served, tmp_path)
    assert found.size == sum(map(len, served.files.values()))


def test_where_nobody_answers_that_is_said_in_one_sentence(tmp_path):
    shelf = Shelf(PipSettings({":env:.index-url": "http://127.0.0.1:9/simple"}), tmp_path)
    with pytest.raises(ConnectionError, match="pip cannot be had .*127.0.0.1.*: connect to a network") as caught:
        select(LINUX, [], pins("pip==26.3"), shelf)
    assert "\n" not in str(caught.value)


def test_every_version_in_the_courses_own_constraints_is_read():
    from tests.project.test_project import ROOT

    known = pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    assert {"torch", "pip", "colorama", "pywinpty", "appnope"} <= known.keys()
    assert SpecifierSet(">=2.9").contains(known["torch"])
