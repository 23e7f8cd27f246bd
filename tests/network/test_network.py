"""A file from a package index, with the faults of real ones: found by pip's settings, gone on with, compared."""

import errno
import hashlib
import os
import random

import pytest

from lora_lab.network import PYPI, File, PipSettings, addresses, download, downloading, web
from tests.helpers.package_index import SELF_SIGNED, Index, serve

CONTENT = random.Random(0).randbytes(300_000)
WANTED = File("a_model-1.0-py3-none-any.whl", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
PROJECT = "a-model"


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch, tmp_path):
    """No proxy, no netrc."""
    for name in [name for name in os.environ if name.lower().endswith(("_proxy", "_ca_bundle"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))


@pytest.fixture
def index():
    with serve(Index({WANTED.name: CONTENT})) as served:
        yield served


def asking(index, **more):
    return PipSettings({":env:.index-url": index.address, **more})


def fetch(index, folder, file=WANTED):
    settings = asking(index)
    return download(file, addresses(PROJECT, file.name, settings), folder, settings)


# Where it lies


@pytest.mark.parametrize("form", ["html", "json"])
def test_a_file_is_found_on_a_page_of_either_form(index, form):
    index.form = form
    (address,) = addresses(PROJECT, WANTED.name, asking(index))
    assert address.partition("#")[0] == f"{index.address.removesuffix('/simple')}/files/{WANTED.name}"
    assert index.asked[0][0] == f"/simple/{PROJECT}/"


@pytest.mark.parametrize(
    "form", ['{"files": [1]}', '{"files": [{}]}', "{}", "{", '{"files":' + "[" * 99_999, "\xff<a href=>"]
)
def test_a_page_that_is_none_is_one_sentence(index, form):
    index.form = form
    with pytest.raises(ConnectionError, match="127.0.0.1") as caught:
        addresses(PROJECT, WANTED.name, asking(index))
    assert "\n" not in str(caught.value)


def test_another_version_is_not_taken_for_the_file(index):
    with pytest.raises(ConnectionError, match="127.0.0.1 has no a_model-1.1"):
        addresses(PROJECT, "a_model-1.1-py3-none-any.whl", asking(index))


def test_further_indexes_and_local_folders_are_asked_too(index, tmp_path):
    (tmp_path / WANTED.name).write_bytes(CONTENT)
    settings = PipSettings(
        {
            "global.index-url": "http://127.0.0.1:9/simple",  # nobody is there
            "global.extra-index-url": f"\n{index.address}\n",
            "global.find-links": str(tmp_path),
        }
    )
    local, served = addresses(PROJECT, WANTED.name, settings)
    assert local.startswith("file:") and served.startswith("http://127.0.0.1")
    settings = PipSettings({"global.no-index": "true", "global.find-links": tmp_path.as_uri()})
    assert addresses(PROJECT, WANTED.name, settings) == [local]


def test_an_index_may_be_a_folder(tmp_path):
    page = tmp_path / "simple" / PROJECT / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text(f'<a href="{WANTED.name}">it</a>')
    (page.parent / WANTED.name).write_bytes(CONTENT)
    settings = PipSettings({"global.index-url": (tmp_path / "simple").as_uri()})
    found = addresses(PROJECT, WANTED.name, settings)
    assert download(WANTED, found, tmp_path, settings).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("said", "indexes"),
    [
        ({}, [PYPI]),
        ({"global.index-url": "https://a.example", "global.extra-index-url": "https://b.example https://c.example"}, 3),
        ({":env:.no-index": "1", "global.index-url": "https://a.example"}, []),
    ],
)
def test_pips_settings_name_the_indexes(said, indexes):
    found = PipSettings(said).indexes()
    assert found == indexes or len(found) == indexes


def test_who_asks_nowhere_is_told_so():
    with pytest.raises(ConnectionError, match="configured to ask no package index"):
        addresses(PROJECT, WANTED.name, PipSettings({"global.no-index": "true"}))


@pytest.mark.parametrize("index_url", ["no address at all", "http://zoe:s3cret@[bad", "ftp://zoe:s3cret@a.example/x"])
def test_an_address_that_is_none_is_no_traceback_and_shows_no_password(index_url):
    with pytest.raises(ConnectionError) as caught:
        addresses(PROJECT, WANTED.name, PipSettings({"global.index-url": index_url}))
    assert "s3cret" not in str(caught.value) and "\n" not in str(caught.value)


# By which way


def test_name_and_password_go_to_their_own_server_only(index):
    index.password = "zoe:s3cret"
    own = index.address.replace("http://", "http://zoe:s3%63ret@")
    (address,) = addresses(PROJECT, WANTED.name, PipSettings({"global.index-url": own}))
    assert set(index.authorized) == {"Basic em9lOnMzY3JldA=="} and address.startswith("http://zoe:s3%63ret@")
    assert web.like("https://files.example/x", own) == "https://files.example/x"


def test_a_netrc_is_read_as_pip_does(index, tmp_path, monkeypatch):
    index.password = "zoe:s3cret"
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login zoe password s3cret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert addresses(PROJECT, WANTED.name, asking(index))


def test_pips_proxy_is_asked_in_place_of_the_server(index):
    proxy = index.address.removesuffix("/simple")
    settings = PipSettings({"global.index-url": "http://nowhere.invalid/simple", "global.proxy": proxy})
    assert addresses(PROJECT, WANTED.name, settings)
    assert index.asked[0][0].startswith("http://nowhere.invalid/simple/")


# Whose certificates are believed


@pytest.fixture
def secure():
    """An index whose certificate nobody vouches for."""
    with serve(Index({WANTED.name: CONTENT}), tls=True) as served:
        yield served


def refused(settings):
    """The one sentence of a server that is not believed."""
    with pytest.raises(ConnectionError) as caught:
        addresses(PROJECT, WANTED.name, settings)
    said = str(caught.value)
    return "\n" not in said and "127.0.0.1: " in said and "certificate verify failed" in said


def test_a_server_that_vouches_for_itself_is_refused_in_one_sentence_and_asked_nothing(secure):
    secure.password = "zoe:s3cret"
    own = secure.address.replace("https://", "https://zoe:s3cret@")
    assert refused(PipSettings({"global.index-url": own}))
    assert not secure.asked and not secure.authorized


def test_a_file_is_not_taken_from_such_a_server_either(secure, tmp_path):
    address = f"{secure.address.removesuffix('/simple')}/files/{WANTED.name}"
    with pytest.raises(ConnectionError, match="certificate verify failed") as caught:
        download(WANTED, [address], tmp_path, asking(secure))
    assert "\n" not in str(caught.value) and not secure.asked and not list(tmp_path.glob("*.whl"))


@pytest.mark.parametrize("variable", ["", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_certificate_that_the_user_names_is_believed(secure, tmp_path, monkeypatch, variable):
    settings = asking(secure) if variable else asking(secure, **{"global.cert": str(SELF_SIGNED)})
    if variable:
        monkeypatch.setenv(variable, str(SELF_SIGNED))
    found = addresses(PROJECT, WANTED.name, settings)
    assert download(WANTED, found, tmp_path, settings).read_bytes() == CONTENT


@pytest.mark.parametrize("cert", ["nowhere.pem", "garbage.pem", "."])
def test_a_certificate_that_cannot_be_read_makes_nobody_believed(secure, tmp_path, monkeypatch, cert):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "garbage.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    assert refused(asking(secure, **{"global.cert": cert}))


def test_a_host_that_the_user_trusts_needs_no_certificate_and_another_one_does(secure):
    host = secure.address.removeprefix("https://").removesuffix("/simple")
    for trusted in ("127.0.0.1", f"other.example {host}"):
        assert addresses(PROJECT, WANTED.name, asking(secure, **{"global.trusted-host": trusted}))
    assert refused(asking(secure, **{"global.trusted-host": "other.example 127.0.0.1:1"}))


@pytest.mark.parametrize("tls", [True, False])
def test_a_trusted_host_cannot_hand_its_trust_on_to_where_it_redirects(secure, tls):
    with serve(Index({}), tls=tls) as first:
        first.redirects_to = secure.address
        host = first.address.partition("//")[2].removesuffix("/simple")
        assert refused(asking(first, **{"global.trusted-host": host}))
    assert first.asked and not secure.asked


# Download


def test_a_download_is_whole_and_leaves_nothing_else(index, tmp_path):
    assert fetch(index, tmp_path) == tmp_path / WANTED.name
    assert (tmp_path / WANTED.name).read_bytes() == CONTENT and len(list(tmp_path.iterdir())) == 1


def test_a_file_that_is_there_is_not_asked_for_again(index, tmp_path):
    (tmp_path / WANTED.name).write_bytes(CONTENT)
    assert fetch(index, tmp_path) and not [path for path, _ in index.asked if "files" in path]


def test_a_connection_that_breaks_is_taken_up_where_it_broke(index, tmp_path):
    index.breaks_after = [100_000, 50_000]
    assert fetch(index, tmp_path).read_bytes() == CONTENT
    assert [asked for path, asked in index.asked if "files" in path] == ["", "bytes=100000-", "bytes=150000-"]


def test_what_an_interrupted_download_left_is_gone_on_with(index, tmp_path, monkeypatch):
    read, chunks = downloading._read, []

    def interrupted(answer, most):
        chunks.append(most)
        if len(chunks) == 2:
            raise KeyboardInterrupt
        return read(answer, min(most, 120_000))

    monkeypatch.setattr(downloading, "_read", interrupted)
    with pytest.raises(KeyboardInterrupt, match="interrupted: 0 of 0 MB are there, and the next time it goes on"):
        fetch(index, tmp_path)
    monkeypatch.setattr(downloading, "_read", read)
    assert fetch(index, tmp_path).read_bytes() == CONTENT
    assert index.asked[-1][1] == "bytes=120000-"


def test_a_server_that_cannot_go_on_begins_anew(index, tmp_path):
    (tmp_path / f"{WANTED.name}.part").write_bytes(CONTENT[:1000])
    index.ranges = False
    assert fetch(index, tmp_path).read_bytes() == CONTENT
    assert len([path for path, _ in index.asked if "files" in path]) == 1


@pytest.mark.parametrize("left", [b"x" * 1000, b"x" * len(CONTENT), b"x" * (len(CONTENT) + 1)])
def test_what_was_left_of_another_file_is_thrown_away(index, tmp_path, left):
    (tmp_path / f"{WANTED.name}.part").write_bytes(left)
    assert fetch(index, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("content", [b"x" * len(CONTENT), CONTENT[:-1] + b"?", CONTENT[:-1] + b"??" * 9])
def test_a_file_with_another_hash_is_refused_and_not_kept(index, tmp_path, content):
    index.files = {WANTED.name: content}
    with pytest.raises(ConnectionError, match="127.0.0.1: what it has under the name a_model.* is another file"):
        fetch(index, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_server_that_has_less_than_it_should_is_given_up(index, tmp_path):
    index.files = {WANTED.name: CONTENT[:1000]}
    with pytest.raises(ConnectionError, match="127.0.0.1: "):
        fetch(index, tmp_path)


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_server_that_refuses_is_named_with_its_reason(index, tmp_path, status):
    index.status = status
    (tmp_path / f"{WANTED.name}.part").write_bytes(CONTENT[:1000])
    with pytest.raises(ConnectionError, match="127.0.0.1: .*0 of 0 MB are there"):
        fetch(index, tmp_path)
    assert len([path for path, _ in index.asked if "files" in path]) == 1  # it is not asked five times


def test_the_next_address_is_tried_where_one_fails(index, tmp_path):
    settings = asking(index)
    places = ["http://127.0.0.1:9/x.whl", "no address", *addresses(PROJECT, WANTED.name, settings)]
    assert download(WANTED, places, tmp_path, settings).read_bytes() == CONTENT


def test_a_full_disk_is_said_and_is_not_the_servers_fault(index, tmp_path, monkeypatch):
    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(downloading, "open", lambda *_: Full(), raising=False)
    with pytest.raises(OSError, match="cannot write .*No space left on device.*free some space") as caught:
        fetch(index, tmp_path)
    assert not isinstance(caught.value, ConnectionError)
