"""Files of npm packages: asked for once, held against a pinned hash, and never outside their folder."""

import base64
import hashlib
import io
import os
import tarfile
from pathlib import Path

import npm
import pytest

from tests.helpers.package_index import Index, serve

SCRIPT, FONT = b"window.x = 1", bytes(range(256))
NAME = "pages-1.2.3.tgz"  # as the registry calls it


def packed(files, links=()):
    """A gzipped tarball of name → content."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name, target in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    return stream.getvalue()


def integrity(content):
    return "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()


TARBALL = packed({"package/dist/pages.js": SCRIPT, "package/dist/fonts/a.woff": FONT, "package/README.md": b"#"})


@pytest.fixture
def index(monkeypatch, tmp_path):
    """A registry on this machine that has the package `@lab/pages`; nothing of this machine's network settings."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy") or name.lower().startswith("npm_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with serve(Index({NAME: TARBALL})) as served:
        monkeypatch.setenv("npm_config_registry", served.address.removesuffix("/simple") + "/")
        pinned(monkeypatch, TARBALL)
        yield served


def pinned(monkeypatch, content):
    monkeypatch.setattr(npm, "PINS", {"@lab/pages": npm.Pin("1.2.3", integrity(content))})


def take(folder, *patterns):
    return npm.take("@lab/pages", patterns, folder / "into", cache=folder / "cache")


def test_the_files_asked_for_lie_under_their_names_in_the_package_and_no_others(index, tmp_path):
    (tmp_path / "into").mkdir()
    (tmp_path / "into" / "own.txt").write_text("stays")
    paths = take(tmp_path, "dist/*")
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == ["into/dist/fonts/a.woff", "into/dist/pages.js"]
    assert (tmp_path / "into/dist/pages.js").read_bytes() == SCRIPT
    assert (tmp_path / "into/dist/fonts/a.woff").read_bytes() == FONT
    assert (tmp_path / "into/own.txt").read_text() == "stays"
    assert not (tmp_path / "into/README.md").exists()
    assert [path for path, _ in index.asked] == ["/@lab/pages/-/pages-1.2.3.tgz"]


def test_a_package_is_asked_for_once_and_again_only_if_it_was_damaged(index, tmp_path):
    take(tmp_path, "dist/pages.js")
    take(tmp_path, "dist/pages.js")
    assert len(index.asked) == 1
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_bytes(TARBALL[:-1])
    take(tmp_path, "dist/pages.js")
    assert len(index.asked) == 2
    assert kept.read_bytes() == TARBALL


def test_a_package_with_another_hash_is_refused_and_not_kept(index, tmp_path):
    index.files[NAME] = packed({"package/dist/pages.js": SCRIPT + b"; evil()"})
    with pytest.raises(ValueError, match="@lab/pages 1.2.3 is another file than the pinned one.*nothing was unpacked"):
        take(tmp_path, "dist/pages.js")
    assert not list(tmp_path.rglob("*.js")) and not list(tmp_path.rglob("*.tgz"))


@pytest.mark.parametrize("name", ["package/../../evil.js", "/package/evil.js", "package\\..\\evil.js", "C:/x/evil.js"])
def test_a_file_that_would_leave_the_folder_is_refused_with_all_others(index, tmp_path, monkeypatch, name):
    index.files[NAME] = packed({"package/a.js": SCRIPT, name: b"evil"})
    pinned(monkeypatch, index.files[NAME])
    with pytest.raises(ValueError, match="would lie outside its folder"):
        take(tmp_path, "*.js")
    assert not list(tmp_path.rglob("*.js")) and not list(tmp_path.parent.glob("evil*"))


def test_a_link_is_no_file(index, tmp_path, monkeypatch):
    index.files[NAME] = packed({"package/a.js": SCRIPT}, links=[("package/b.js", "/etc/passwd")])
    pinned(monkeypatch, index.files[NAME])
    assert [path.name for path in take(tmp_path, "*.js")] == ["a.js"]


def test_a_pattern_that_finds_nothing_is_named(index, tmp_path):
    with pytest.raises(ValueError, match="has no file 'dist/gone.js'"):
        take(tmp_path, "dist/*", "dist/gone.js")
    assert not (tmp_path / "into").exists()


def test_a_package_without_a_pin_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no version of leftpad is pinned; course/npm.py has .*mathjax"):
        npm.take("leftpad", ["*"], tmp_path / "into", tmp_path)


def test_what_is_no_tarball_is_one_sentence(index, tmp_path, monkeypatch):
    index.files[NAME] = TARBALL[: len(TARBALL) // 2]
    pinned(monkeypatch, index.files[NAME])
    with pytest.raises(ValueError, match="@lab/pages is no tarball that can be read"):
        take(tmp_path, "*")


def test_a_file_that_has_the_name_of_a_folder_is_refused(index, tmp_path, monkeypatch):
    index.files[NAME] = packed({"package/a": SCRIPT, "package/a/b.js": SCRIPT})
    pinned(monkeypatch, index.files[NAME])
    with pytest.raises(ValueError, match="@lab/pages has 'a' both as a file and as a folder"):
        take(tmp_path, "*")
    assert not (tmp_path / "into").exists()


def test_an_entry_without_a_name_in_the_package_is_no_file(index, tmp_path, monkeypatch):
    index.files[NAME] = packed({"package": SCRIPT, "package/a.js": SCRIPT})
    pinned(monkeypatch, index.files[NAME])
    assert [path.name for path in take(tmp_path, "*")] == ["a.js"]


def test_only_what_is_asked_for_is_read_and_no_file_beyond_a_limit(index, tmp_path, monkeypatch):
    index.files[NAME] = packed({"package/huge.bin": bytes(2000), "package/LICENSE": b"free"})
    pinned(monkeypatch, index.files[NAME])
    monkeypatch.setattr(npm, "_MOST", 1000)
    assert [path.name for path in take(tmp_path, "LICENSE")] == ["LICENSE"]
    with pytest.raises(ValueError, match="has a file of .* MB: 'package/huge.bin'"):
        take(tmp_path, "*")


def test_a_download_that_broke_off_is_no_other_file(index, tmp_path, monkeypatch):
    monkeypatch.setenv("npm_config_registry", index.address.replace("/simple", "/files"))  # which are the ones it cuts
    index.breaks_after.append(100)
    with pytest.raises(ConnectionError, match=r"it broke off after 0 of \d+ kB\): .*try again"):
        take(tmp_path, "dist/*")
    assert take(tmp_path, "dist/*")


@pytest.mark.parametrize(
    ("sent", "said"),
    [(b"\n<!doctype html><p>Room?", "it sent a web page, as a network does that wants a log-in"), (b"", "no package")],
)
def test_what_a_network_sends_in_place_of_a_package_is_named(index, tmp_path, sent, said):
    index.files[NAME] = sent
    with pytest.raises(ConnectionError, match=said):
        take(tmp_path, "dist/*")
    assert not list(tmp_path.rglob("*.tgz"))


@pytest.mark.parametrize("registry", ["localhost:4873", "no address", "me:secret@registry"])
def test_a_registry_whose_address_is_none_is_named_without_its_password(index, tmp_path, monkeypatch, registry):
    monkeypatch.setenv("npm_config_registry", registry)
    with pytest.raises(ValueError, match="npm_config_registry=.* is no address: begin it with https://") as caught:
        take(tmp_path, "dist/*")
    assert "secret" not in str(caught.value) and registry.rpartition("@")[2] in str(caught.value)


def test_without_a_network_it_is_one_sentence_with_the_way_out(index, tmp_path, monkeypatch):
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:9")
    monkeypatch.delenv("npm_config_registry")
    with pytest.raises(ConnectionError, match="@lab/pages 1.2.3 could not be had.*try again with a network") as caught:
        take(tmp_path, "dist/*")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "into").exists()


def test_without_a_network_what_was_kept_serves(index, tmp_path, monkeypatch):
    take(tmp_path, "dist/pages.js")
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    assert take(tmp_path, "README.md")


def test_every_pin_is_taken_by_a_page():
    makers = [Path(npm.__file__).with_name("make_slides.py"), Path(npm.__file__).parent / "book" / "__main__.py"]
    text = "".join(path.read_text(encoding="utf-8") for path in makers)
    assert all(f'"{package}"' in text for package in npm.PINS)


def test_every_pin_is_a_version_and_a_sha512():
    for pin in npm.PINS.values():
        assert pin.version.count(".") == 2 and pin.version.replace(".", "").isdigit()
        assert len(base64.b64decode(pin.integrity.removeprefix("sha512-"), validate=True)) == 64
