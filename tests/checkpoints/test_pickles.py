"""Foreign classes are inert and hostile pickles run nothing, in both formats of torch.save."""

import argparse
import codecs
import collections
import datetime
import enum
import functools
import importlib
import os
import pathlib
import pickle
import shutil
import subprocess
import sys
import threading
import types

import numpy as np
import pytest
import torch

from ddrnet.checkpoints import read_state_dict
from ddrnet.checkpoints.calls import RULES, TORCHS_OWN
from ddrnet.checkpoints.containers import LEGACY_MAGIC
from ddrnet.checkpoints.pickles import BLOCKED_MODULES, StandIn, load_pickled
from ddrnet.checkpoints.values import Global
from ddrnet.errors import CheckpointError, UnsafeCheckpointError

WEIGHTS = {"conv1.0.weight": torch.arange(6.0).reshape(2, 3)}

pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol")

in_both_formats = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])


def save(content, path, legacy, **options):
    torch.save(content, path, _use_new_zipfile_serialization=not legacy, **options)
    return path


class HistoryBuffer:
    """Shaped like mmengine's."""

    def __init__(self):
        self._log_history = np.array([0.5, 0.25])
        self._max_length = np.int64(1000000)

    def __setstate__(self, state):
        self.__dict__.update(state)


class AttributeDict(dict):
    """Shaped like Lightning's."""


class EasyDict(dict):
    """Keeps its items as attributes too."""

    def __init__(self, **items):
        super().__init__(**items)
        self.__dict__.update(items)


class OwnOrderedDict(collections.OrderedDict):
    pass


class History(list):
    pass


class Slots:
    __slots__ = ("a",)

    def __init__(self):
        self.a = torch.ones(1)


class Phase(enum.Enum):
    TRAIN = 1


FOREIGN = (HistoryBuffer, AttributeDict, EasyDict, OwnOrderedDict, History, Slots, Phase)


@pytest.fixture
def elsewhere(monkeypatch):
    """A module that exists while a file is written, and not while it is read."""
    module = types.ModuleType("elsewhere")
    for foreign in FOREIGN:
        monkeypatch.setattr(foreign, "__module__", "elsewhere")
        setattr(module, foreign.__name__, foreign)
    sys.modules["elsewhere"] = module
    yield
    sys.modules.pop("elsewhere", None)


def _foreign_objects():
    array = np.arange(3)
    return {
        "mmengine's history": HistoryBuffer(),
        "options": argparse.Namespace(lr=0.01, crop=(1024, 1024)),
        "Lightning's dictionary": AttributeDict(lr=0.1, nested=AttributeDict(a=[1])),
        "easydict": EasyDict(lr=0.1),
        "ordered dictionary": OwnOrderedDict(a=torch.ones(2), b=2),
        "list": History([1, 2]),
        "list of one": History([1]),
        "slots": Slots(),
        "enumeration": Phase.TRAIN,
        "defaultdict": collections.defaultdict(list, loss=[0.1, 0.2]),
        "deque": collections.deque([1, 2], maxlen=5),
        "array": array,
        "array of texts": np.array(["a", "b"]),
        "array of objects": np.array([{}, 1], dtype=object),
        "scalars": [np.float32(1), np.int64(2), np.bool_(True)],
        "random state": np.random.RandomState(0).get_state(),
        "date": datetime.datetime(2021, 1, 15),
        "path": pathlib.PurePosixPath("a/b"),
        "function": functools.partial(sorted, reverse=True),
        "class": dict,
        "error": ValueError("x"),
        "torch's version": torch.__version__,
        "optimizer": torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], 0.1),
        "the same twice": [array, array],
    }


@in_both_formats
@pytest.mark.parametrize("name", _foreign_objects())
def test_foreign_objects_do_not_hinder(name, legacy, tmp_path, elsewhere):
    thing = _foreign_objects()[name]
    content = {"meta": thing, "state_dict": WEIGHTS, "more": [thing, {"deep": (thing,)}]}
    file = save(content, tmp_path / "a.pth", legacy)
    sys.modules.pop("elsewhere")
    state = read_state_dict(file)
    assert list(state) == list(WEIGHTS)
    assert torch.equal(state["conv1.0.weight"], WEIGHTS["conv1.0.weight"])


@in_both_formats
def test_foreign_objects_are_inert(legacy, tmp_path, elsewhere):
    content = {
        "buffer": HistoryBuffer(),
        "dict": AttributeDict(a=1),
        "list": History([1, 2]),
        "weight": torch.ones(2),
    }
    file = save(content, tmp_path / "a.pth", legacy)
    sys.modules.pop("elsewhere")
    loaded = load_pickled(file)
    assert isinstance(loaded["buffer"], StandIn)
    assert type(loaded["buffer"]).__name__ == "HistoryBuffer"
    assert not vars(loaded["buffer"])
    assert loaded["dict"] == {"a": 1}
    assert loaded["list"] == [1, 2]


@in_both_formats
def test_a_state_dict_may_be_of_a_foreign_class(legacy, tmp_path, elsewhere):
    file = save({"state_dict": OwnOrderedDict(WEIGHTS)}, tmp_path / "a.pth", legacy)
    sys.modules.pop("elsewhere")
    assert list(read_state_dict(file)) == list(WEIGHTS)


class Call:
    """Pickled as a call, of a function or of what another call returns."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced

    def __call__(self):
        raise AssertionError("pickle wants something callable, nobody calls it")


def _hostile_calls(marker):
    command = f"touch {marker}"
    code = f"open({str(marker)!r}, 'w').close()"
    return {
        "exec": Call(exec, code),
        "eval": Call(eval, code),
        "open": Call(open, str(marker), "w"),
        "import": Call(__import__, "antigravity"),
        "import_module": Call(importlib.import_module, "antigravity"),
        "Popen": Call(subprocess.Popen, ["touch", str(marker)]),
        "getoutput": Call(subprocess.getoutput, command),
        "copy": Call(shutil.copy, __file__, str(marker)),
        "method": Call(pathlib.Path(marker).touch),
        "write_text": Call(pathlib.Path(marker).write_text, "x"),
        "map": Call(list, Call(map, eval, [code])),
        "getattr": Call(getattr, Call(__import__, "os"), "system"),
        "pickle.loads": Call(pickle.loads, pickle.dumps(Call(exec, code))),
        "chain": Call(Call(getattr, Call(__import__, "os"), "system"), command),
    }


@in_both_formats
@pytest.mark.parametrize("name", _hostile_calls("marker"))
def test_a_hostile_call_is_inert(name, legacy, tmp_path):
    marker = tmp_path / "marker"
    content = {"state_dict": WEIGHTS, "meta": _hostile_calls(marker)[name]}
    state = read_state_dict(save(content, tmp_path / "a.pth", legacy))
    assert list(state) == list(WEIGHTS)
    assert not marker.exists()
    assert "antigravity" not in sys.modules


def _calls_of_torchs_own():
    """Calls that torch's safe reader makes, or may make some day, as no torch.save asks for."""
    weight = torch.ones(2, 3)
    rebuild = torch._utils._rebuild_tensor_v2
    storage = weight.storage()
    rest = (False, collections.OrderedDict())
    return {
        "load_from_bytes": Call(torch.storage._load_from_bytes, b"anything"),
        "bytes of a length": [Call(bytearray, 2**30) for _ in range(5)],
        "bytes of a tensor": Call(bytearray, weight),
        "a tensor of a size": Call(torch.Tensor, 10**5, 10**5),
        "a typed tensor": Call(torch.FloatTensor, 10**5, 10**5),
        "a storage of a size": Call(torch.FloatStorage, 2**33),
        "counted elements": Call(collections.Counter, weight),
        "a slow codec": Call(codecs.encode, "a", "punycode"),
        "a nested tensor": Call(torch._utils._rebuild_nested_tensor, *[weight] * 4),
        "beyond the storage": Call(rebuild, storage, 0, (7,), (1,), *rest),
        "before the storage": Call(rebuild, storage, -1, (2,), (1,), *rest),
        "a negative size": Call(rebuild, storage, 0, (-1,), (1,), *rest),
        "a negative stride": Call(rebuild, storage, 3, (2,), (-1,), *rest),
        "a huge stride": Call(rebuild, storage, 0, (2,), (2**62,), *rest),
        "sizes without strides": Call(rebuild, storage, 0, (2, 3), (1,), *rest),
        "a view of stride 0": Call(rebuild, storage, 0, (2**30,), (0,), *rest),
        "another element type": Call(
            torch._utils._rebuild_tensor_v3, storage, 0, (6,), (1,), *rest, torch.float64
        ),
        "a wrapped rebuilding": Call(
            torch._tensor._rebuild_from_type_v2,
            rebuild, torch.Tensor, (storage, 0, (7,), (1,), *rest), {},
        ),
    }  # fmt: skip


@in_both_formats
@pytest.mark.parametrize("name", _calls_of_torchs_own())
def test_torchs_own_functions_get_the_arguments_of_torch_save_alone(name, legacy, tmp_path):
    content = {"state_dict": WEIGHTS, "meta": _calls_of_torchs_own()[name]}
    file = save(content, tmp_path / "a.pth", legacy)
    with pytest.raises(CheckpointError, match=r"a\.pth"):
        read_state_dict(file)


def test_every_function_that_torch_calls_is_known():
    """A new version of torch may call more; this fails then, and the scanner has to learn it."""
    from torch._weights_only_unpickler import _get_allowed_globals

    for name, function in _get_allowed_globals().items():
        found = Global(*name.rpartition(".")[::2])
        if callable(function) and name not in RULES:
            assert TORCHS_OWN.fullmatch(found.module), name


BLOCKED = {
    "os.system": (os.system, "touch {}"),
    "os.remove": (os.remove, __file__),
    "os.popen": (os.popen, "touch {}"),
    "sys.exit": (sys.exit, 3),
    "sys.setrecursionlimit": (sys.setrecursionlimit, 5),
}


@in_both_formats
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("name", BLOCKED)
def test_a_call_into_a_blocked_module_is_refused(name, protocol, legacy, tmp_path):
    marker = tmp_path / "marker"
    function, argument = BLOCKED[name]
    argument = argument.format(marker) if isinstance(argument, str) else argument
    content = {"state_dict": WEIGHTS, "meta": [1, {"deep": Call(function, argument)}]}
    file = save(content, tmp_path / "a.pth", legacy, pickle_protocol=protocol)
    with pytest.raises(UnsafeCheckpointError, match=name.rpartition(".")[2]):
        read_state_dict(file)
    assert not marker.exists()
    assert pathlib.Path(__file__).exists()


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_plain_pickle_is_refused(protocol, tmp_path):
    marker, file = tmp_path / "marker", tmp_path / "a.pkl"
    file.write_bytes(pickle.dumps({"weight": np.ones(2)}, protocol))
    with pytest.raises(CheckpointError, match=r"plain pickle|protocol"):
        read_state_dict(file)
    file.write_bytes(pickle.dumps(Call(os.system, f"touch {marker}"), protocol))
    with pytest.raises(UnsafeCheckpointError, match="system"):
        read_state_dict(file)
    assert not marker.exists()


@in_both_formats
def test_another_protocol_says_how_to_save(legacy, tmp_path):
    content = {"state_dict": WEIGHTS, "meta": argparse.Namespace()}
    file = save(content, tmp_path / "a.pth", legacy, pickle_protocol=4)
    with pytest.raises(CheckpointError, match=r"protocol 4.*defaults"):
        read_state_dict(file)


def test_a_legacy_file_with_a_module_inside_says_what_to_do(tmp_path):
    file = save({"state_dict": WEIGHTS, "loss": torch.nn.ReLU()}, tmp_path / "a.pth", True)
    with pytest.raises(CheckpointError, match=r"ReLU.*save only the state_dict"):
        read_state_dict(file)


@in_both_formats
def test_allows_nothing_for_longer_than_it_reads(legacy, tmp_path):
    before = set(torch.serialization.get_safe_globals())
    file = save({"a": argparse.Namespace(), **WEIGHTS}, tmp_path / "a.pth", legacy)
    read_state_dict(file)
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(pickle.UnpicklingError):
        torch.load(file, weights_only=True)


def test_reads_in_many_threads_at_once(tmp_path):
    file = save({"a": argparse.Namespace(), **WEIGHTS}, tmp_path / "a.pth", False)
    states = []
    threads = [
        threading.Thread(target=lambda: states.extend(read_state_dict(file) for _ in range(10)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(states) == 40


def test_knows_torchs_constants():
    assert int.from_bytes(LEGACY_MAGIC, "little") == torch.serialization.MAGIC_NUMBER
    assert set(torch._weights_only_unpickler._blocklisted_modules) == BLOCKED_MODULES
