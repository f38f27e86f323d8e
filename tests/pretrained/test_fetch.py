"""Every row of the table fetched from loopback, in its family's own container."""

import hashlib
import io
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache

import golden_data
import pytest
import torch
from containers import row_file, saved
from huggingface_hub import constants
from loopback import Reply
from safetensors.torch import load_file

from ddrnet.checkpoints import to_ddrnet
from ddrnet.checkpoints.contents import HEADS
from ddrnet.errors import WeightsUnavailableError
from ddrnet.network import DDRNet
from ddrnet.pretrained import download
from ddrnet.pretrained.fetch import fetch_original, fetch_state_dict, fetch_weights
from ddrnet.pretrained.inventory import find_cached, remove_cached
from ddrnet.pretrained.tensors import serialize
from ddrnet.pretrained.weights_cache import CacheFolder, Record
from ddrnet.variants import CLASSIFIER, VARIANTS
from ddrnet.weights import ROWS
from ddrnet.weights.row import HubFile, WebFile

BY_NAME = {row.name: row for row in ROWS}
SEGMENTATION = [row.name for row in ROWS if row.task == "segmentation" and not row.packaged]
IMAGENET = [row.name for row in ROWS if row.task != "segmentation"]
SLIM = BY_NAME["ddrnet_23_slim.cityscapes"]
REPORTED = BY_NAME["ddrnet_23_slim.in1k"]
KEPT = {"ddrnet_23_slim": 254, "ddrnet_23": 254, "ddrnet_39": 422}

NANO = replace(
    SLIM,
    model="ddrnet_23_nano",
    tag="test",
    family="ddrnet",
    sources=(WebFile(("https://host/nano.safetensors",)),),
)
PREFIXED = replace(NANO, sources=(replace(NANO.sources[0], sha256="01234567"),))
"""A small row of which a part of the hash is known."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(download, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 2)
    for name in ("HF_HUB_OFFLINE", "DDRNET_HUB_ORG"):
        monkeypatch.delenv(name, raising=False)


@cache
def nano_file():
    torch.manual_seed(1)
    return serialize(DDRNet(VARIANTS["ddrnet_23_nano"], aux_head=True).state_dict())


def slow_unless_slim(names):
    """Return the names as test parameters; only the smallest network runs in the fast suite."""
    return [pytest.param(n, marks=() if "slim" in n else pytest.mark.slow) for n in names]


@pytest.mark.parametrize("name", slow_unless_slim(SEGMENTATION))
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


@pytest.mark.parametrize("name", slow_unless_slim(IMAGENET))
def test_imagenet_rows_give_every_tensor_of_the_backbone(server, tmp_path, name):
    row = BY_NAME[name]
    content = row_file(row)
    state = fetch_state_dict(server.mirror(row, content), tmp_path)
    original = torch.load(io.BytesIO(content), weights_only=True)
    renamed = to_ddrnet(original.get("state_dict", original))
    last_layers = 20 if row.task == "classification" else 0
    assert len(state) == KEPT[row.model] + last_layers
    assert not [key for key in state if key.startswith(HEADS)]
    assert state.keys() == renamed.keys()
    for key, tensor in state.items():
        assert torch.equal(tensor, renamed[key]), key


def test_a_classifier_must_be_whole(server, tmp_path):
    state = torch.load(io.BytesIO(row_file(REPORTED)), weights_only=True)
    del state["linear.bias"]
    row = server.mirror(REPORTED, saved(state))
    with pytest.raises(WeightsUnavailableError, match=r"1 missing \(classifier\.bias\)"):
        fetch_weights(row, tmp_path)


def test_a_cached_classifier_without_its_last_layers_is_fetched_again(server, tmp_path):
    row = server.mirror(REPORTED, row_file(REPORTED))
    path = fetch_weights(row, tmp_path)
    whole = path.read_bytes()
    state = {k: v for k, v in load_file(path).items() if not k.startswith(CLASSIFIER)}
    folder, content = CacheFolder.of(row, tmp_path), serialize(state)
    path.write_bytes(content)
    record = replace(
        folder.read_record(), sha256=hashlib.sha256(content).hexdigest(), size=len(content)
    )
    folder.write_record(record)
    assert fetch_weights(row, tmp_path).read_bytes() == whole


def test_the_second_time_reads_one_file(server, tmp_path, monkeypatch):
    row = server.mirror(SLIM, row_file(SLIM))
    first = fetch_weights(row, tmp_path)
    monkeypatch.setattr("socket.socket.connect", None)
    assert fetch_weights(row, tmp_path) == first
    names = {path.name for path in first.parent.iterdir()}
    assert names == {".lock", "model.safetensors", "record.json"}


def test_conversion_gives_the_same_bytes_every_time(server, tmp_path):
    row = server.mirror(PREFIXED, nano_file())
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


def spoilt(content):
    return content[:5000] + bytes(5000) + content[10_000:]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        pytest.param(lambda: Reply(nano_file()[:-1000]), "the file has sha256", id="truncated"),
        pytest.param(
            lambda: Reply(nano_file(), cut=1000, ranges=False), "closed after 1000 of", id="cut"
        ),
        pytest.param(
            lambda: Reply(spoilt(nano_file())), "the file has sha256", id="right size, wrong bytes"
        ),
        pytest.param(lambda: Reply(b"<!DOCTYPE html><title>Quota</title>"), "page", id="page"),
        pytest.param(lambda: Reply(b""), "the file has sha256", id="empty"),
        pytest.param(lambda: Reply(status=503), "HTTP 503", id="down"),
    ],
)
def test_nothing_wrong_gets_its_final_name(server, tmp_path, reply, reason):
    row = server.mirror(PREFIXED, nano_file())
    path = row.sources[0].address.removeprefix(server.url)
    server.serve(path, reply())
    with pytest.raises(WeightsUnavailableError, match=reason):
        fetch_weights(row, tmp_path)
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and file.name != ".lock"]
    server.serve(path, Reply(status=503), Reply(status=503), Reply(nano_file()))
    assert fetch_weights(row, tmp_path).is_file()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(lambda: spoilt(row_file(SLIM)), "damaged", id="spoilt"),
        pytest.param(lambda: row_file(SLIM)[:-1000], "damaged", id="truncated"),
        pytest.param(lambda: b"not a checkpoint", "text file", id="text"),
        pytest.param(
            lambda: row_file(BY_NAME["ddrnet_23_slim.in1k"]),
            r"79 missing \(dappm.*, \.\.\.\)",
            id="classifier",
        ),
        pytest.param(
            lambda: row_file(BY_NAME["ddrnet_23.in1k"]), "not the tensors of", id="another size"
        ),
    ],
)
def test_without_a_hash_the_contents_must_fit(server, tmp_path, content, reason):
    row = server.mirror(SLIM, content())
    with pytest.raises(WeightsUnavailableError, match=reason):
        fetch_weights(row, tmp_path)
    folder = CacheFolder.of(row, tmp_path)
    assert [file.name for file in folder.path.iterdir()] == [".lock"]
    assert folder.read_record() == Record()


class Command:
    """Runs a shell command when it is unpickled in the ordinary way."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_a_pickle_with_code_does_not_run_it(server, tmp_path):
    target = tmp_path / "made by the pickle"
    content = saved({"state_dict": {"conv1.0.weight": Command(f"touch '{target}'")}})
    row = server.mirror(SLIM, content)
    with pytest.raises(WeightsUnavailableError, match="system"):
        fetch_weights(row, tmp_path)
    assert not target.exists()


def test_a_hash_known_in_part_is_said_to_be(server, tmp_path):
    row = server.mirror(PREFIXED, nano_file())
    fetch_weights(row, tmp_path)
    assert find_cached(row, tmp_path).verification == "verified by prefix"


def test_a_known_hash_verifies(server, tmp_path):
    row = server.mirror(PREFIXED, nano_file(), sha256=hashlib.sha256(nano_file()).hexdigest())
    fetch_weights(row, tmp_path)
    assert find_cached(row, tmp_path).verification == "verified"
    wrong = server.mirror(PREFIXED, nano_file(), size=len(nano_file()) + 1)
    with pytest.raises(WeightsUnavailableError, match=f"{len(nano_file())} bytes, expected"):
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
    with pytest.raises(
        WeightsUnavailableError, match="changed since it was first fetched"
    ) as error:
        fetch_weights(row, tmp_path)
    record = CacheFolder.of(row, tmp_path).record_path
    assert f"delete {record}" in str(error.value)
    record.unlink()
    with pytest.raises(WeightsUnavailableError, match="not the tensors"):
        fetch_weights(row, tmp_path)


def test_a_damaged_cache_mends_itself(server, tmp_path, caplog):
    row = server.mirror(PREFIXED, nano_file())
    path = fetch_weights(row, tmp_path)
    content = path.read_bytes()
    for damaged in (content[:-1], bytes(len(content))):
        path.write_bytes(damaged)
        assert fetch_weights(row, tmp_path).read_bytes() == content
    assert caplog.text.count("is damaged") == 1, "a file of another size counts as missing"


def test_a_damaged_file_is_left_to_the_process_that_replaces_it(server, tmp_path, caplog):
    row = server.mirror(PREFIXED, nano_file())
    path = fetch_weights(row, tmp_path)
    content = path.read_bytes()
    path.write_bytes(bytes(len(content)))
    with caplog.at_level(logging.INFO, "ddrnet"), ThreadPoolExecutor() as threads:
        with CacheFolder.of(row, tmp_path).locked():
            again = threads.submit(fetch_weights, row, tmp_path)
            while "waiting for another process" not in caplog.text:
                assert not again.done()
                time.sleep(0.01)
            assert path.exists()
            path.write_bytes(content)
        assert again.result().read_bytes() == content
    assert server.count("GET") == 1


def test_a_hash_that_becomes_known_is_compared_with_what_is_cached(server, tmp_path, caplog):
    row = server.mirror(NANO, nano_file())
    fetch_weights(row, tmp_path)
    known = server.mirror(NANO, nano_file(), sha256=hashlib.sha256(nano_file()).hexdigest())
    fetch_weights(known, tmp_path)
    assert server.count("GET") == 1
    wrong = server.mirror(NANO, nano_file(), sha256="0" * 64)
    with pytest.raises(WeightsUnavailableError, match="expected 0000"):
        fetch_weights(wrong, tmp_path)
    assert "now known to have another hash" in caplog.text
    assert find_cached(wrong, tmp_path) is None
    other = serialize(DDRNet(VARIANTS["ddrnet_23_nano"]).state_dict())
    mended = server.mirror(NANO, other, sha256=hashlib.sha256(other).hexdigest())
    fetched = server.count("GET")
    for _ in range(2):
        assert fetch_weights(mended, tmp_path).read_bytes() == other
    assert server.count("GET") == fetched + 1


def test_offline_with_a_damaged_cache_says_so(server, tmp_path, monkeypatch):
    row = server.mirror(PREFIXED, nano_file())
    path = fetch_weights(row, tmp_path)
    path.write_bytes(bytes(path.stat().st_size))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsUnavailableError, match="is damaged in the cache"):
        fetch_weights(row, tmp_path)
    assert path.exists()


def test_offline_with_a_cold_cache_says_so_at_once(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    row = server.mirror(SLIM, row_file(SLIM))
    with pytest.raises(WeightsUnavailableError, match="HF_HUB_OFFLINE is set"):
        fetch_weights(row, tmp_path)
    assert server.requests == []
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_process_do_not_matter(server, tmp_path):
    row = server.mirror(PREFIXED, nano_file())
    folder = CacheFolder.of(row, tmp_path)
    folder.path.mkdir(parents=True)
    folder.download.write_bytes(nano_file()[:100])
    folder.path.joinpath(".lock").touch()
    (folder.path / ".model.safetensors.1.part").write_bytes(b"half")
    path = fetch_weights(row, tmp_path)
    assert not list(path.parent.glob("*.part"))


def test_originals_leave_mirrors_aside(server, tmp_path, monkeypatch):
    monkeypatch.setenv("DDRNET_HUB_ORG", "nobody")
    row = server.mirror(NANO, nano_file())
    both = replace(row, sources=(HubFile("nobody/nothing"), *row.sources))
    assert fetch_original(both, tmp_path).read_bytes() == nano_file()


@pytest.mark.parametrize("small_disk", ["8m", "1m"], indirect=True)
def test_a_full_disk_is_named_and_left_clean(server, small_disk):
    """With 8 MiB the download fits and the converted file does not."""
    row = server.mirror(NANO, nano_file())
    with pytest.raises(WeightsUnavailableError) as error:
        fetch_weights(row, small_disk)
    assert "No space left on device" in str(error.value)
    assert str(small_disk) in str(error.value)
    assert find_cached(row, small_disk) is None
    assert not [path for path in small_disk.rglob("*") if path.name.endswith((".part", "tensors"))]


@pytest.mark.parametrize("small_disk", ["16m"], indirect=True)
def test_a_read_only_cache(server, small_disk, as_read_only):
    row = server.mirror(NANO, nano_file())
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
