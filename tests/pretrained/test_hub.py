"""Files of a Hub on loopback, through the real client in fresh interpreters."""

import re
from pathlib import Path

import huggingface_hub
import pytest
from loopback import Repo, run_fresh

FILES = {"config.json": b"{}", "model.safetensors": b"tensors" * 1000}

DRIVER = """
import json, os
from ddrnet.errors import DDRNetError
from ddrnet.pretrained import hub
from ddrnet.weights.row import HubFile

def outcome(call, *arguments):
    try:
        return str(call(*arguments))
    except DDRNetError as error:
        return f"{type(error).__name__}: {error}"

def fetch(repo, filename="model.safetensors", revision="main", cache_dir=None):
    return outcome(hub.download, HubFile(repo, revision, filename), cache_dir)
"""


def repo(**behaviour):
    repo = Repo(**behaviour)
    repo.add_commit(FILES)
    return repo


def test_every_failure_has_its_own_message(server, tmp_path):
    server.repos = {
        "me/good": repo(),
        "me/gated": repo(error=(403, "GatedRepo")),
        "me/spoilt": repo(spoil=True),
    }
    results = run_fresh(
        DRIVER
        + """
report({
    "good": fetch("me/good"),
    "missing": fetch("me/nothing"),
    "gated": fetch("me/gated"),
    "revision": fetch("me/good", revision="v9"),
    "file": fetch("me/good", "other.bin"),
    "name": fetch("a/b/c"),
    "spoilt": fetch("me/spoilt"),
    "spoilt again": fetch("me/spoilt"),
})
""",
        server,
        tmp_path,
    )
    assert results["good"].endswith("model.safetensors")
    expected = {
        "missing": "there is no model me/nothing",
        "gated": "me/gated is gated: accept its terms",
        "revision": "me/good has no revision 'v9'",
        "file": "hf-hub:me/good@main has no file other.bin",
        "name": "'a/b/c' is not the name of a Hub repository",
        "spoilt": "sent a damaged file",
        "spoilt again": "sent a damaged file",
    }
    for case, message in expected.items():
        assert results[case].startswith("HubError: ")
        assert message in results[case]
    assert server.count("GET", "me/spoilt") == 2, "a spoilt file must not stay in the cache"


@pytest.mark.skipif(
    int(huggingface_hub.__version__.split(".")[0]) < 1,
    reason="clients below 1.0 do not repeat a refused request",
)
def test_the_client_repeats_a_request_that_is_refused_for_a_moment(server, tmp_path):
    server.repos = {"me/model": repo(failures=[429])}
    path = run_fresh(DRIVER + "report(fetch('me/model'))", server, tmp_path)
    assert Path(path).read_bytes() == FILES["model.safetensors"]
    assert server.count("GET", "me/model") == 2


def test_a_request_that_the_client_does_not_repeat_is_an_error_at_once(server, tmp_path):
    server.repos = {"me/model": repo(failures=[503, 500])}
    calls = "report([fetch('me/model'), fetch('me/model'), fetch('me/model')])"
    down, broken, path = run_fresh(DRIVER + calls, server, tmp_path)
    for result, code, reason in ((down, 503, "Service Unavail"), (broken, 500, "Internal Serv")):
        assert result.startswith("HubError: cannot fetch model.safetensors of hf-hub:me/model@main")
        assert re.search(rf"\b{code} .*{reason}", result)
    assert Path(path).read_bytes() == FILES["model.safetensors"]


def test_nobody_there(server, tmp_path):
    code = """
import time
time.sleep = lambda seconds: None  # the client waits 23 seconds between its attempts
report(fetch("me/model"))
"""
    result = run_fresh(DRIVER + code, server, tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert result.startswith("HubError: cannot reach http://127.0.0.1:9 for hf-hub:me/model@main")


def test_offline_reads_the_cache_alone(server, tmp_path):
    server.repos = {"me/model": repo()}
    online = run_fresh(DRIVER + "report(fetch('me/model'))", server, tmp_path)
    before = len(server.requests)
    offline = """
import socket
socket.socket.connect = None
os.environ["HF_HUB_OFFLINE"] = "1" if late else os.environ["HF_HUB_OFFLINE"]
report([fetch("me/model"), fetch("me/model", "config.json"), hub.is_offline(),
        outcome(hub.upload, "me/model", {}, "message")])
"""
    for late, environment in ((True, {}), (False, {"HF_HUB_OFFLINE": "1"})):
        code = f"import huggingface_hub.constants\nlate = {late}\n" + DRIVER + offline
        cached, missing, is_offline, upload = run_fresh(code, server, tmp_path, **environment)
        assert cached == online
        assert "not in the cache and HF_HUB_OFFLINE is set" in missing
        assert is_offline
        assert upload == "HubError: cannot upload to me/model: HF_HUB_OFFLINE is set"
    assert len(server.requests) == before


def test_finds_and_removes_what_is_cached(server, tmp_path):
    server.repos = {"me/model": repo()}
    code = """
file = HubFile("me/model")
before = hub.find_cached(file)
path = hub.download(file)
found = hub.find_cached(file)
blob = path.resolve()
hub.remove(found)
report([before, found == path, hub.find_cached(file), blob.exists(), str(hub.download(file))])
"""
    before, found, after, blob, again = run_fresh(DRIVER + code, server, tmp_path)
    assert (before, found, after, blob) == (None, True, None, False)
    assert Path(again).read_bytes() == FILES["model.safetensors"]


def test_the_cache_can_be_elsewhere(server, tmp_path):
    server.repos = {"me/model": repo()}
    code = f"report(fetch('me/model', cache_dir={str(tmp_path / 'elsewhere')!r}))"
    path = run_fresh(DRIVER + code, server, tmp_path / "home")
    assert path.startswith(str(tmp_path / "elsewhere"))


def test_uploads_in_one_commit_and_downloads_the_same(server, tmp_path):
    code = """
files = {"model.safetensors": b"abc", "README.md": b"---\\nlicense: mit\\n---\\n"}
revision = hub.upload("me/new", files, "message")
report([revision, fetch("me/new", revision=revision), fetch("me/new", "README.md")])
"""
    revision, *paths = run_fresh(DRIVER + code, server, tmp_path, HF_TOKEN="hf_secret")
    assert [Path(path).read_bytes() for path in paths] == [b"abc", b"---\nlicense: mit\n---\n"]
    assert list(server.repos["me/new"].commits) == [revision]


def test_a_token_goes_along(server, tmp_path):
    server.repos = {"me/model": repo()}
    run_fresh(DRIVER + "report(fetch('me/model'))", server, tmp_path, HF_TOKEN="hf_secret")
    assert server.tokens == {"Bearer hf_secret"}


def test_a_full_or_read_only_cache_is_named(server, tmp_path, small_disk, as_read_only):
    large = Repo()
    large.add_commit({"model.safetensors": bytes(2 << 20)})
    server.repos = {"me/model": repo(), "me/large": large}
    code = f"report(fetch('me/{{}}', cache_dir={str(small_disk)!r}))"
    full = run_fresh(DRIVER + code.format("large"), server, tmp_path)
    with as_read_only(small_disk):
        locked = run_fresh(DRIVER + code.format("model"), server, tmp_path)
    for result, reason in ((full, "No space left on device"), (locked, "Read-only file system")):
        named = f"WeightsUnavailableError: cannot write to the cache {small_disk}: {reason}"
        assert result.startswith(named)
    assert not list(small_disk.rglob("model.safetensors"))


def test_an_upload_that_is_refused_says_how_to_be_allowed(server, tmp_path):
    server.repos = {"me/closed": Repo(error=(403, ""))}
    code = 'report(outcome(hub.upload, "me/closed", {"a": b"b"}, "message"))'
    result = run_fresh(DRIVER + code, server, tmp_path, HF_TOKEN="hf_secret")
    assert result.startswith("HubError: cannot upload to me/closed")
    assert "hf auth login" in result


def test_parts_that_a_killed_process_left_are_deleted(server, tmp_path):
    server.repos = {"me/good": repo()}
    old, new = run_fresh(
        DRIVER
        + """
from pathlib import Path
from huggingface_hub import constants
blobs = Path(constants.HF_HUB_CACHE) / "models--me--good" / "blobs"
blobs.mkdir(parents=True)
old, new = blobs / "0a.1b.incomplete", blobs / "0a.2c.incomplete"
for part in (old, new):
    part.write_bytes(bytes(1000))
os.utime(old, (0, 0))
assert fetch("me/good").endswith("model.safetensors")
report([old.exists(), new.exists()])
""",
        server,
        tmp_path,
    )
    assert (old, new) == (False, True), "another process may still write the newer one"
