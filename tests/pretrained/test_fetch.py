"""Every row of the table fetched from loopback, in its family's own container."""

import hashlib
import io
import logging
import os
import pickle
from dataclasses import replace

import golden_data
import pytest
import torch
from containers import row_file, saved
from huggingface_hub import constants
from loopback import Reply, Repo, run_fresh

from ddrnet.checkpoints import to_ddrnet
from ddrnet.errors import WeightsUnavailableError
from ddrnet.network import HEADS, DDRNet
from ddrnet.pretrained import download, read_folder
from ddrnet.pretrained.cache import CacheFolder, Record
from ddrnet.pretrained.fetch import fetch_original, fetch_state_dict, fetch_weights
from ddrnet.pretrained.inventory import find_cached, remove_cached
from ddrnet.pretrained.saving import save_pretrained
from ddrnet.pretrained.tensors import serialize
from ddrnet.variants import VARIANTS
from ddrnet.weights import ROWS
from ddrnet.weights.row import HubFile, WebFile

BY_NAME = {row.name: row for row in ROWS}
SEGMENTATION = [row.name for row in ROWS if row.task == "segmentation"]
IMAGENET = [row.name for row in ROWS if row.task != "segmentation"]
SLIM = BY_NAME["ddrnet_23_slim.cityscapes"]
PREFIXED = BY_NAME["ddrnet_23_slim.cityscapes_mmseg"]
REPORTED = BY_NAME["ddrnet_23_slim.in1k"]
KEPT = {"ddrnet_23_slim": 254, "ddrnet_23": 254, "ddrnet_39": 422}

nano = replace(
    SLIM,
    model="ddrnet_23_nano",
    tag="test",
    family="ddrnet",
    sources=(WebFile(("https://host/nano.safetensors",)),),
)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(download, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 2)
    for name in ("HF_HUB_OFFLINE", "DDRNET_HUB_ORG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def nano_file():
    torch.manual_seed(1)
    return serialize(DDRNet(VARIANTS["ddrnet_23_nano"], aux_head=True).state_dict())


@pytest.mark.parametrize("name", SEGMENTATION)
def test_segmentation_rows_give_the_published_logits(server, tmp_path, name):
    row = BY_NAME[name]
    state = fetch_state_dict(server.mirror(row, row_file(row)), tmp_path)
    model = DDRNet(VARIANTS[row.model], aux_head=True, upsample=False).eval()
    model.load_state_dict(state)
    expected = golden_data.outputs(row.family)
    with torch.no_grad():
        got = model(golden_data.image(128, 256)[:1])
    for logits, kind in ((got.logits, "main"), (got.aux_logits, "aux")):
        published = expected[f"{row.model}.128x256.{kind}"][:1]
        assert golden_data.relative_error(logits, published) < 1e-4


@pytest.mark.parametrize("name", IMAGENET)
def test_imagenet_rows_give_every_tensor_of_the_backbone(server, tmp_path, name):
    row = BY_NAME[name]
    content = row_file(row)
    state = fetch_state_dict(server.mirror(row, content), tmp_path)
    original = torch.load(io.BytesIO(content), weights_only=True)
    renamed = to_ddrnet(original.get("state_dict", original))
    assert len(state) == KEPT[row.model]
    assert not [key for key in state if key.startswith(HEADS)]
    assert state.keys() == renamed.keys()
    for key, tensor in state.items():
        assert torch.equal(tensor, renamed[key]), key


def test_the_second_time_reads_one_file(server, tmp_path, monkeypatch):
    row = server.mirror(SLIM, row_file(SLIM))
    first = fetch_weights(row, tmp_path)
    monkeypatch.setattr("socket.socket.connect", None)
    assert fetch_weights(row, tmp_path) == first
    names = {path.name for path in first.parent.iterdir()}
    assert names == {".lock", "model.safetensors", "record.json"}


def test_conversion_gives_the_same_bytes_every_time(server, tmp_path):
    row = server.mirror(PREFIXED, row_file(PREFIXED))
    digests = {
        hashlib.sha256(fetch_weights(row, tmp_path / x).read_bytes()).hexdigest() for x in "ab"
    }
    assert len(digests) == 1


def test_the_next_source_is_tried(server, tmp_path, caplog):
    row = server.mirror(SLIM, row_file(SLIM))
    for link in row.sources[0].links:
        server.serve(link.removeprefix(server.url), Reply(status=404))
    with caplog.at_level(logging.INFO, "ddrnet"):
        fetch_weights(row, tmp_path)
    assert find_cached(row, tmp_path).verification == "recorded locally, not verified"
    assert CacheFolder.of(row, tmp_path).read_record().source == row.sources[1].address
    for source in row.sources:
        assert f"fetching ddrnet_23_slim.cityscapes from {source.address}" in caplog.text
    assert "HTTP 404" in caplog.text


def test_one_error_lists_every_source_and_the_ways_out(server, tmp_path):
    row = server.mirror(BY_NAME["ddrnet_23.cityscapes"], Reply(b"gone", status=410))
    with pytest.raises(WeightsUnavailableError) as error:
        fetch_weights(row, tmp_path)
    message = str(error.value)
    assert f"{row.sources[0].address}: HTTP 410" in message
    assert "cityscapes_mmseg" in message
    assert "checkpoint_path=" in message


GOOD = row_file(PREFIXED)
SPOILT = GOOD[:5000] + bytes(5000) + GOOD[10_000:]
CODE = pickle.dumps({"state_dict": type("Run", (), {"__reduce__": lambda _: (os.system, ("",))})()})


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        pytest.param(Reply(GOOD[:-1000]), "the file has sha256", id="truncated"),
        pytest.param(Reply(GOOD, cut=1000, ranges=False), "closed after 1000 of", id="cut"),
        pytest.param(Reply(SPOILT), "the file has sha256", id="right size, wrong bytes"),
        pytest.param(Reply(b"<!DOCTYPE html><title>Quota</title>"), "web page", id="quota page"),
        pytest.param(Reply(b""), "the file has sha256", id="empty"),
        pytest.param(Reply(status=503), "HTTP 503", id="down"),
    ],
)
def test_nothing_wrong_gets_its_final_name(server, tmp_path, reply, reason):
    row = server.mirror(PREFIXED, GOOD)
    path = row.sources[0].address.removeprefix(server.url)
    server.serve(path, reply)
    with pytest.raises(WeightsUnavailableError, match=reason):
        fetch_weights(row, tmp_path)
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and file.name != ".lock"]
    server.serve(path, Reply(status=503), Reply(status=503), Reply(GOOD))
    assert fetch_weights(row, tmp_path).is_file()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(SPOILT, "damaged", id="spoilt"),
        pytest.param(GOOD[:-1000], "damaged", id="truncated"),
        pytest.param(b"not a checkpoint", "text file", id="text"),
        pytest.param(row_file(BY_NAME["ddrnet_23.cityscapes"]), "not the tensors of", id="of 23"),
        pytest.param(row_file(REPORTED), "dappm.* is missing, expected", id="classifier"),
        pytest.param(CODE, "the file", id="code"),
    ],
)
def test_without_a_hash_the_contents_must_fit(server, tmp_path, content, reason):
    row = server.mirror(SLIM, content)
    with pytest.raises(WeightsUnavailableError, match=reason):
        fetch_weights(row, tmp_path)
    folder = CacheFolder.of(row, tmp_path)
    assert [file.name for file in folder.path.iterdir()] == [".lock"]
    assert folder.read_record() == Record()


def test_a_pickle_with_code_does_not_run_it(server, tmp_path):
    target = tmp_path / "made by the pickle"
    command = type("Run", (), {"__reduce__": lambda _: (os.system, (f"touch '{target}'",))})
    row = server.mirror(SLIM, saved({"state_dict": {"conv1.0.weight": command()}}))
    with pytest.raises(WeightsUnavailableError, match="system"):
        fetch_weights(row, tmp_path)
    assert not target.exists()


def test_a_hash_known_in_part_is_said_to_be(server, tmp_path):
    row = server.mirror(PREFIXED, GOOD)
    fetch_weights(row, tmp_path)
    assert find_cached(row, tmp_path).verification == "verified by prefix"


def test_a_known_hash_verifies(server, tmp_path):
    row = server.mirror(PREFIXED, GOOD, sha256=hashlib.sha256(GOOD).hexdigest())
    fetch_weights(row, tmp_path)
    assert find_cached(row, tmp_path).verification == "verified"
    wrong = server.mirror(PREFIXED, GOOD, size=len(GOOD) + 1)
    with pytest.raises(WeightsUnavailableError, match=f"{len(GOOD)} bytes, expected"):
        fetch_weights(wrong, tmp_path / "other")


def test_a_hash_that_others_report_only_warns(server, tmp_path, caplog):
    content = row_file(REPORTED)
    row = server.mirror(REPORTED, content)
    fetch_weights(row, tmp_path)
    assert find_cached(row, tmp_path).verification == "as others report"
    assert not caplog.records
    other = server.mirror(REPORTED, content, sha256="0" * 64)
    fetch_weights(other, tmp_path / "other")
    assert "not the file that others report" in caplog.text
    known = find_cached(other, tmp_path / "other")
    assert known.verification == "recorded locally, not verified"


def test_a_file_that_changes_later_is_refused_until_accepted(server, tmp_path):
    row = server.mirror(SLIM, row_file(SLIM))
    row = replace(row, sources=row.sources[:1])
    fetch_weights(row, tmp_path)
    assert remove_cached(row, tmp_path) > 20_000_000
    for link in row.sources[0].links:
        server.serve(link.removeprefix(server.url), Reply(row_file(REPORTED)))
    with pytest.raises(WeightsUnavailableError, match="changed since it was first fetched") as error:
        fetch_weights(row, tmp_path)
    record = CacheFolder.of(row, tmp_path).record_path
    assert f"delete {record}" in str(error.value)
    record.unlink()
    with pytest.raises(WeightsUnavailableError, match="not the tensors"):
        fetch_weights(row, tmp_path)


def test_a_damaged_cache_mends_itself(server, tmp_path, caplog):
    row = server.mirror(PREFIXED, GOOD)
    path = fetch_weights(row, tmp_path)
    content = path.read_bytes()
    for damaged in (content[:-1], bytes(len(content))):
        path.write_bytes(damaged)
        assert fetch_weights(row, tmp_path).read_bytes() == content
    assert caplog.text.count("is damaged") == 1, "a file of another size counts as missing"


def test_offline_with_a_cold_cache_says_so_at_once(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    row = server.mirror(SLIM, row_file(SLIM))
    with pytest.raises(WeightsUnavailableError, match="HF_HUB_OFFLINE is set"):
        fetch_weights(row, tmp_path)
    assert server.requests == []
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_process_do_not_matter(server, tmp_path):
    row = server.mirror(PREFIXED, GOOD)
    folder = CacheFolder.of(row, tmp_path)
    folder.path.mkdir(parents=True)
    folder.download.write_bytes(GOOD[:100])
    folder.lock.touch()
    (folder.path / ".model.safetensors.1.part").write_bytes(b"half")
    path = fetch_weights(row, tmp_path)
    assert not list(path.parent.glob("*.part"))


def test_inventory_counts_and_removes(server, tmp_path):
    row = server.mirror(PREFIXED, GOOD)
    assert find_cached(row, tmp_path) is None
    assert remove_cached(row, tmp_path) == 0
    path = fetch_weights(row, tmp_path)
    cached = find_cached(row, tmp_path)
    assert cached.path == path
    assert cached.size == path.stat().st_size
    assert remove_cached(row, tmp_path) == cached.size
    assert find_cached(row, tmp_path) is None


def test_originals_leave_mirrors_aside(server, tmp_path, nano_file, monkeypatch):
    monkeypatch.setenv("DDRNET_HUB_ORG", "nobody")
    row = server.mirror(nano, nano_file)
    both = replace(row, sources=(HubFile("nobody/nothing"), *row.sources))
    assert fetch_original(both, tmp_path).read_bytes() == nano_file


@pytest.mark.parametrize("small_disk", ["8m", "1m"], indirect=True)
def test_a_full_disk_is_named_and_left_clean(server, small_disk, nano_file):
    """With 8 MiB the download fits and the converted file does not."""
    row = server.mirror(nano, nano_file)
    with pytest.raises(WeightsUnavailableError) as error:
        fetch_weights(row, small_disk)
    assert "No space left on device" in str(error.value)
    assert str(small_disk) in str(error.value)
    assert find_cached(row, small_disk) is None
    assert not [path for path in small_disk.rglob("*") if path.name.endswith((".part", "tensors"))]


@pytest.mark.parametrize("small_disk", ["16m"], indirect=True)
def test_a_read_only_cache(server, small_disk, as_read_only, nano_file):
    row = server.mirror(nano, nano_file)
    with as_read_only(small_disk):
        assert find_cached(row, small_disk) is None
        with pytest.raises(WeightsUnavailableError, match="cannot write to the cache") as error:
            fetch_weights(row, small_disk)
    assert str(small_disk) in str(error.value)
    path = fetch_weights(row, small_disk)
    with as_read_only(small_disk):
        assert fetch_weights(row, small_disk) == path
    path.unlink()
    with as_read_only(small_disk), pytest.raises(WeightsUnavailableError, match="cannot write"):
        fetch_weights(row, small_disk)


def hub_row(repo, **known):
    return replace(nano, sources=(HubFile(repo, **known), *nano.sources))


ROW_DRIVER = """
import dataclasses, hashlib, logging, os, socket
import tests_rows
from ddrnet.errors import DDRNetError
from ddrnet.pretrained.fetch import fetch_weights
from ddrnet.pretrained.inventory import find_cached, remove_cached
"""
