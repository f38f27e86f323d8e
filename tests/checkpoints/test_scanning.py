"""The scanner against two readers of pickles that are not its own: Python's and torch's."""

import argparse
import collections
import datetime
import io
import pathlib
import pickle
import zipfile

import numpy as np
import pytest
import torch

from ddrnet.checkpoints.scanning import Scanner
from ddrnet.checkpoints.values import Global

OBJECTS = {
    "namespace": argparse.Namespace(lr=0.01),
    "array": np.arange(3),
    "scalar": np.float64(3),
    "defaultdict": collections.defaultdict(list, a=[1]),
    "deque": collections.deque([1, 2, 3]),
    "error": ValueError("x"),
    "date": datetime.datetime(2021, 1, 15),
    "path": pathlib.PurePosixPath("a/b"),
    "function": len,
    "shared": [argparse.Namespace(), collections.OrderedDict(a=1)] * 2,
    "plain": {"a": [1, 2.5, None, True, (1, 2, 3, 4), "text", b"bytes", 2**70]},
}


class Recorder(pickle.Unpickler):
    """Python's own unpickler; notes what it is asked to look up."""

    def __init__(self, data):
        super().__init__(io.BytesIO(data))
        self.seen = set()

    def find_class(self, module, name):
        self.seen.add(f"{module}.{name}")
        return super().find_class(module, name)


def scan(data):
    scanner = Scanner()
    scanner.scan(io.BytesIO(data))
    return scanner


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", OBJECTS)
def test_finds_what_pythons_unpickler_looks_up(name, protocol):
    data = pickle.dumps({"state": OBJECTS[name], "epoch": 3}, protocol)
    recorder = Recorder(data)
    recorder.load()
    scanner = scan(data)
    assert recorder.seen <= {name for found in scanner.globals for name in found.spellings}
    assert len(scanner.globals) == len(recorder.seen)
    assert scanner.protocol == (protocol if protocol >= 2 else 0)


@pytest.mark.parametrize("name", OBJECTS)
def test_finds_what_torch_calls_unsafe(name, tmp_path):
    file = tmp_path / "a.pth"
    torch.save({"state": OBJECTS[name], "weight": torch.ones(2)}, file)
    unsafe = torch.serialization.get_unsafe_globals_in_checkpoint(file)
    with zipfile.ZipFile(file) as archive:
        data = archive.read("a/data.pkl")
    assert set(unsafe) <= {name for found in scan(data).globals for name in found.spellings}


def test_leaves_the_file_behind_the_pickle():
    file = io.BytesIO(pickle.dumps([1], 2) + pickle.dumps({"a": ValueError()}, 2) + b"rest")
    scanner = Scanner()
    scanner.scan(file)
    assert not scanner.globals
    scanner.scan(file)
    assert file.read() == b"rest"
    assert Global("exceptions", "ValueError") in scanner.globals


def test_spells_the_names_of_python_2_as_python_3_does():
    assert Global("__builtin__", "eval").spellings == {"__builtin__.eval", "builtins.eval"}
    assert Global("__builtin__", "xrange").spellings == {"__builtin__.xrange", "builtins.range"}
    assert Global("os", "system").spellings == {"os.system"}


@pytest.mark.parametrize("protocol", [2, 4])
def test_tells_how_objects_are_filled(protocol):
    class_of = {
        "object": argparse.Namespace(a=1),
        "dict": collections.defaultdict(list, {"a": [1, 2], "b": {"c": 1}}),
        "list": collections.deque([1, [2], {"a": 3}]),
    }
    scanner = scan(pickle.dumps([class_of, class_of["object"]], protocol))
    found = {name.name: filling for name, filling in scanner.globals.items()}
    assert found == {"Namespace": "object", "defaultdict": "dict", "deque": "list"} | {
        name: "object" for name in found.keys() - {"Namespace", "defaultdict", "deque"}
    }


@pytest.mark.parametrize(
    ("object_", "filling"),
    [(collections.defaultdict(list, a=1), "dict"), (collections.deque([1]), "list")],
)
def test_a_single_item_is_enough(object_, filling):
    scanner = scan(pickle.dumps(object_, 2))
    assert filling in scanner.globals.values()


def test_follows_instructions_that_python_no_longer_writes():
    """INST looks up and calls; DUP, POP and POP_MARK move the stack."""
    scanner = scan(b"(i__builtin__\nlen\n]2a0(I1\nI2\n1}X\x01\x00\x00\x00aI1\ns0.")
    assert scanner.globals == {Global("__builtin__", "len"): "object"}


@pytest.mark.parametrize("data", [b"", b"\x80\x02", b"\x80\x02}q\x00", b"\xff", b"\x80\x02h\x05."])
def test_damaged_pickles_raise(data):
    with pytest.raises((ValueError, LookupError)):
        scan(data)
