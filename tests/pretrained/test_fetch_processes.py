"""Fetching in fresh processes: together, killed half way, without a network, from a Hub."""

import hashlib

import pytest
import torch
from containers import row_file, saved
from loopback import Reply, Repo, run_fresh

from ddrnet import registry
from ddrnet.network import DDRNet
from ddrnet.pretrained.fetch import fetch_weights
from ddrnet.pretrained.tensors import serialize
from ddrnet.variants import VARIANTS


def nano_file():
    torch.manual_seed(1)
    return serialize(DDRNet(VARIANTS["ddrnet_23_nano"], aux_head=True).state_dict())


IN_FRESH_PROCESSES = """
import dataclasses, os, signal, socket, torch
from ddrnet import registry
from ddrnet.weights.row import HubFile, WebFile
from ddrnet.pretrained import fetch
from ddrnet.pretrained.inventory import find_cached
from ddrnet.errors import DDRNetError

torch.set_num_threads(1)

def nano(*sources):
    slim = registry.get_weights("ddrnet_23_slim.cityscapes")
    return dataclasses.replace(slim, model="ddrnet_23_nano", tag="test", sources=sources)

def children(count, work):
    # Run work(index) in so many processes; return their exit codes.
    ids = []
    for index in range(count):
        child = os.fork()
        if child == 0:
            code = 99
            try:
                code = work(index) or 0
            finally:
                os._exit(code)
        ids.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in ids]

def outcome(call, *arguments):
    try:
        return str(call(*arguments))
    except DDRNetError as error:
        return f"{type(error).__name__}: {error}"
"""


def test_eight_processes_at_once_make_one_download_and_eight_models(server, tmp_path):
    link = server.serve("/nano", nano_file())
    code = f"""
from ddrnet.factory import create_model
row = nano(WebFile(({link!r},)))
registry.get_weights = lambda name: row
def load(_):
    model = create_model("ddrnet_23_nano", pretrained=True)
    return model.pretrained is not row
report(children(8, load))
"""
    assert run_fresh(IN_FRESH_PROCESSES + code, server, tmp_path) == [0] * 8
    assert server.count("GET") == 1


@pytest.mark.slow
def test_a_process_killed_half_way_blocks_nobody(server, tmp_path):
    stalled = server.serve("/stalled", Reply(nano_file(), stall=60))
    good = server.serve("/good", nano_file())
    code = f"""
def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)
def killed_in_download(_):
    signal.signal(signal.SIGALRM, kill)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    fetch.fetch_weights(nano(WebFile(({stalled!r},))))
good = nano(WebFile(({good!r},)))
def killed_in_conversion(_):
    fetch.to_ddrnet = kill
    fetch.fetch_weights(good)
def killed_before_the_rename(_):
    os.fsync = kill
    fetch.fetch_weights(good)
report([
    children(1, killed_in_download),
    children(1, killed_in_conversion),
    children(1, killed_before_the_rename),
    find_cached(good) is None,
    children(1, lambda _: fetch.fetch_weights(good) is None),
    sorted(os.listdir(fetch.fetch_weights(good).parent)),
])
"""
    killed = [-9]
    assert run_fresh(IN_FRESH_PROCESSES + code, server, tmp_path) == [
        killed,
        killed,
        killed,
        True,
        [0],
        [".lock", "model.safetensors", "record.json"],
    ]


def test_a_warm_cache_needs_no_sockets(server, tmp_path):
    slim = registry.get_weights("ddrnet_23_slim.cityscapes")
    row = server.mirror(slim, row_file(slim))
    assets = tmp_path / "assets"
    fetch_weights(row, assets)
    before = len(server.requests)
    code = """
def refuse(*_):
    raise AssertionError("a socket was opened")
socket.socket.__init__ = refuse
import ddrnet
model = ddrnet.create_model("ddrnet_23_slim", pretrained=True)
report([model.pretrained.name, [label.name for label in model.classes][:2], model.training])
"""
    result = run_fresh(IN_FRESH_PROCESSES + code, server, tmp_path, HF_HUB_OFFLINE="1")
    assert result == ["ddrnet_23_slim.cityscapes", ["road", "sidewalk"], True]
    assert len(server.requests) == before


def test_a_mirror_on_the_hub_comes_first(server, tmp_path):
    good = Repo()
    revision = good.add_commit({"model.safetensors": nano_file()})
    pickled = Repo()
    pickled.add_commit({"model.safetensors": saved({"a": torch.zeros(1)})})
    server.repos = {"org/ddrnet_23_nano.test": good, "bad/ddrnet_23_nano.test": pickled}
    digest = hashlib.sha256(nano_file()).hexdigest()
    link = server.serve("/nano", nano_file())
    code = f"""
original = WebFile(({link!r},))
def fetched(cache, *sources, org=None):
    os.environ.pop("DDRNET_HUB_ORG", None)
    if org:
        os.environ["DDRNET_HUB_ORG"] = org
    row = nano(*(sources or (original,)))
    path = outcome(fetch.fetch_weights, row, {str(tmp_path)!r} + "/" + cache)
    known = find_cached(row, {str(tmp_path)!r} + "/" + cache)
    return [path, known and known.verification]
pinned = HubFile("org/ddrnet_23_nano.test", {revision!r}, sha256={digest!r})
wrong = dataclasses.replace(pinned, sha256="0" * 64)
report({{
    "mirror": fetched("a", org="org"),
    "again": fetched("a", org="org"),
    "none": fetched("b", org="nobody"),
    "pickled": fetched("c", org="bad"),
    "pinned": fetched("d", pinned),
    "wrong": fetched("e", wrong),
    "wrong, then good": fetched("e", wrong, original),
}})
"""
    results = run_fresh(IN_FRESH_PROCESSES + code, server, tmp_path)
    assert "models--org--ddrnet_23_nano.test" in results["mirror"][0]
    assert results["mirror"][1] == "recorded locally, not verified"
    assert results["again"] == results["mirror"]
    for case in ("none", "pickled", "wrong, then good"):
        assert results[case][0].endswith("ddrnet/weights/ddrnet_23_nano.test/model.safetensors")
    assert results["pinned"][1] == "verified"
    assert "has sha256" in results["wrong"][0]
    assert results["wrong"][1] is None
    assert server.count("GET", "org/ddrnet_23_nano.test/resolve/main") == 1
