import argparse
import collections
import contextlib
import gzip
import io
import os
import struct
import tarfile
import zipfile

import golden_data
import numpy as np
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save as serialize
from torch import nn

from ddrnet.checkpoints import read_state_dict
from ddrnet.checkpoints.pickles import StandIn
from ddrnet.checkpoints.reading import WRAPPERS, unwrap
from ddrnet.errors import CheckpointError, DDRNetError

OFFICIAL = golden_data.keys("official")["ddrnet_23_slim"]
ONE, TWO = torch.tensor(1.0), torch.tensor(2.0)
SMALL = {f"conv1.{index}.weight": torch.full((2, 3), index) for index in range(4)}


def torch_bytes(content, legacy=False):
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


FORMATS = {
    "zip": torch_bytes,
    "legacy": lambda content: torch_bytes(content, legacy=True),
    "safetensors": serialize,
}
WRITTEN = {name: write(SMALL) for name, write in FORMATS.items()}
WRITTEN["zip with options"] = torch_bytes({"net": SMALL, "args": argparse.Namespace(a=[1])})
WRITTEN["legacy with options"] = torch_bytes({"net": SMALL, "a": argparse.Namespace(b=1)}, True)


def write(path, data):
    path.write_bytes(data)
    return path


def assert_same(got, expected):
    assert list(got) == list(expected)
    for key, tensor in expected.items():
        assert got[key].dtype == tensor.dtype
        assert torch.equal(got[key], tensor)


@pytest.fixture(scope="module")
def official():
    """Every name of the published model, on small tensors."""
    return {key: torch.full((2,), index) for index, key in enumerate(OFFICIAL)}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("extension", ["pth", "pt", "ckpt", "bin", "safetensors", "tar", ""])
def test_the_content_decides_the_format_not_the_extension(format, extension, tmp_path):
    file = write(tmp_path / f"weights.{extension}", WRITTEN[format])
    assert_same(dict(sorted(read_state_dict(file).items())), SMALL)


@pytest.mark.parametrize("format", FORMATS)
def test_reads_the_official_container(format, official, tmp_path):
    """Every key behind `model.`, one buffer of the loss, no dictionary around."""
    content = {f"model.{key}": tensor for key, tensor in official.items()}
    content["loss.criterion.weight"] = torch.ones(19)
    state = read_state_dict(write(tmp_path / "best_val.pth", FORMATS[format](content)))
    assert_same({key: state[key] for key in official}, official)
    assert len(state) == len(official)


@pytest.mark.parametrize("legacy", [False, True])
def test_reads_the_container_of_mmsegmentation(legacy, official, tmp_path):
    content = {
        "meta": {"mmseg_version": "1.0.0", "seed": np.int64(3), "time": argparse.Namespace()},
        "state_dict": official,
        "message_hub": {"log_scalars": {"train/loss": argparse.Namespace(h=np.ones(3))}},
        "param_schedulers": [{"by_epoch": False, "_global_step": 12}],
    }
    assert_same(read_state_dict(write(tmp_path / "a.pth", torch_bytes(content, legacy))), official)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("average", [False, True])
def test_reads_the_container_of_supergradients(average, legacy, official, tmp_path):
    plain = {f"module.{key}": tensor for key, tensor in official.items()}
    content = {"net": plain, "acc": torch.tensor(0.8), "epoch": 500, "packages": {"torch": "1.9"}}
    if average:
        content |= {"net": {key: 0 * tensor for key, tensor in plain.items()}, "ema_net": plain}
    assert_same(read_state_dict(write(tmp_path / "a.pth", torch_bytes(content, legacy))), official)


DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64, torch.bool]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_keeps_the_dtype(format, dtype, tmp_path):
    content = {"weight": torch.arange(6).reshape(2, 3).to(dtype)}
    assert_same(read_state_dict(write(tmp_path / "a", FORMATS[format](content))), content)


def test_takes_strings_and_the_home_folder(tmp_path, monkeypatch):
    write(tmp_path / "a.pth", WRITTEN["zip"])
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert_same(read_state_dict(str(tmp_path / "a.pth")), SMALL)
    assert_same(read_state_dict("~/a.pth"), SMALL)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint .*a\.pth"):
        read_state_dict(tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"is a folder.*local-dir:"):
        read_state_dict(tmp_path)


def _zip(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def _tar():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("pickle"), io.BytesIO())
    return buffer.getvalue()


STRANGERS = {
    "empty": (b"", "empty"),
    "web page": (b"\n<!DOCTYPE html><html><title>Quota exceeded", "a web page.*fetch it again"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
    "ONNX": (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:", "ONNX model"),
    "gzip": (gzip.compress(WRITTEN["zip"]), "unpack"),
    "tar": (_tar(), "tar archive"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(50), "HDF5"),
    "text": (b"epoch 1: loss 0.3\n" * 99, "a text file"),
    "numbers": (bytes(range(200, 256)), "no known format.*begins with"),
    "other zip": (_zip(**{"best_val.pth": WRITTEN["zip"]}), r"best_val\.pth.*Unpack"),
    "empty zip": (_zip() + bytes(10), r"no known format|damaged"),
    "arrays": (_zip(**{"weight.npy": b"\x93NUMPY"}), "did not write.*weight.npy"),
    "TorchScript": (
        _zip(**{"m/data.pkl": "", "m/constants.pkl": ""}),
        r"TorchScript.*state_dict\(\)",
    ),
    "safetensors header": (struct.pack("<Q", 50) + b'{"a":', "damaged or incomplete"),
    "nothing inside": (torch_bytes({"epoch": 3}), r"no tensors.*epoch \(int\)"),
    "a tensor": (torch_bytes(torch.ones(2)), "holds a Tensor, not tensors by name"),
    "a model": (torch_bytes(nn.Linear(1, 1)), r"pickled Linear.*state_dict\(\)"),
    "a legacy model": (torch_bytes(nn.Linear(1, 1), True), r"Linear.*state_dict\(\)"),
    "a model inside": (torch_bytes({"model": nn.Linear(1, 1), "epoch": 3}), "pickled Linear"),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_other_files_are_named(name, tmp_path):
    data, message = STRANGERS[name]
    file = write(tmp_path / "weights.pth", data)
    with pytest.raises(CheckpointError, match=message) as error:
        read_state_dict(file)
    assert str(file) in str(error.value)


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_truncated_files_are_damaged(name, kept, tmp_path):
    data = WRITTEN[name]
    file = write(tmp_path / "a.pth", data[: int(len(data) * kept)])
    with pytest.raises(CheckpointError, match=r"damaged|empty|no known format|text"):
        read_state_dict(file)


@given(st.sampled_from(sorted(WRITTEN)), st.data())
def test_no_damage_escapes_as_another_error(tmp_path_factory, name, data):
    damaged = bytearray(WRITTEN[name])
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(damaged)) | st.just(len(damaged)))
    file = write(tmp_path_factory.getbasetemp() / "damaged.pth", bytes(damaged[:end]))
    with contextlib.suppress(DDRNetError):
        state = read_state_dict(file)
        assert all(isinstance(value, torch.Tensor) for value in state.values())


@pytest.mark.parametrize("name", [*WRITTEN, *STRANGERS])
def test_leaves_no_file_open(name, tmp_path):
    data = WRITTEN[name] if name in WRITTEN else STRANGERS[name][0]
    file = write(tmp_path / "a.pth", data)
    before = len(psutil.Process().open_files())
    with contextlib.suppress(CheckpointError):
        state = read_state_dict(file)
        assert state
    assert len(psutil.Process().open_files()) == before


@pytest.mark.skipif(os.name == "nt", reason="Windows does not replace files that are mapped")
def test_tensors_survive_the_file(tmp_path):
    for name, data in WRITTEN.items():
        file = write(tmp_path / name, data)
        state = read_state_dict(file)
        file.unlink()
        assert_same(dict(sorted(state.items())), SMALL)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_unwraps_training_dictionaries(wrapper):
    content = {"epoch": 3, wrapper: {"a": ONE}, "optimizer": {"state": {0: {"momentum": TWO}}}}
    assert unwrap(content) == {"a": ONE}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"acc": TWO, "net": {"a": ONE}}, "a tensor beside the network"),
        ({"state_dict": {"model": {"a": ONE}}}, "nested"),
        ({"net": {"a": TWO}, "ema_net": {"a": ONE}}, "super-gradients' average"),
        ({"state_dict": {"a": TWO}, "state_dict_ema": {"a": ONE}}, "timm's average"),
        ({"model": {"a": TWO}, "model_ema": {"n_averaged": TWO, "module.a": ONE}}, "torchvision's"),
        ({"model": {"a": TWO}, "ema": {"module": {"a": ONE}, "updates": 9}}, "a nested average"),
        ({"model": {"a": ONE}, "ema": {"decay": 0.99, "shadow": {"b": TWO}}}, "of other names"),
        ({"state_dict": {"a": ONE}, "ema_state_dict": {"a": TWO}}, "mmengine swaps them"),
        ({"net": {"a": ONE}, "ema_net": None}, "an empty wrapper"),
        ({"model": {}, "state_dict": {"a": ONE}}, "another empty one"),
        ({"model": "ddrnet_23", "weights": {"a": ONE}}, "a name that is no wrapper here"),
        ({"a": ONE, "epoch": 3, "name": "x", 7: TWO}, "what is no tensor or has no name"),
        (collections.OrderedDict(a=ONE), "another mapping"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_finds_the_network(content, why):
    assert unwrap(content) == {"a": ONE}, why


@pytest.mark.parametrize(
    "prefix",
    ["", "module.", "model.", "_orig_mod.", "net.", "module.model.", "model._orig_mod.module."],
)
def test_strips_prefixes(prefix):
    content = {f"{prefix}conv1.0.weight": ONE, f"{prefix}down3.module.bias": TWO}
    assert unwrap(content) == {"conv1.0.weight": ONE, "down3.module.bias": TWO}


@pytest.mark.parametrize(
    "key",
    [
        "stem._orig_mod.0.weight",
        "_orig_mod.stem._checkpoint_wrapped_module.0.weight",
        "_fsdp_wrapped_module.model.stem._fsdp_wrapped_module.0.weight",
    ],
)
def test_strips_what_torch_inserts_anywhere(key):
    assert unwrap({key: ONE}) == {"stem.0.weight": ONE}


def test_knows_the_names_that_torch_inserts():
    from torch.distributed.algorithms._checkpoint import checkpoint_wrapper

    part = nn.Sequential(nn.Linear(1, 1), torch.compile(nn.Linear(1, 1), backend="eager"))
    part[0] = checkpoint_wrapper.CheckpointWrapper(part[0])
    assert list(unwrap(part.state_dict())) == ["0.weight", "0.bias", "1.weight", "1.bias"]


@pytest.mark.parametrize(
    "key",
    [
        "loss.criterion.weight",
        "module.loss.weight",
        "criterion.class_weights",
        "loss_fn.weight",
        "aux_criterion.weight",
        "model.diceLoss.weight",
        "n_averaged",
    ],
)
def test_drops_the_loss(key):
    assert unwrap({"model.a": ONE, key: TWO}) == {"a": ONE}


def test_returns_plain_tensors_with_memory_of_their_own():
    storage = torch.arange(10.0)
    parameter = nn.Parameter(torch.ones(2))
    state = unwrap({"view": storage[2:4], "whole": storage, "parameter": parameter})
    assert type(state["parameter"]) is torch.Tensor
    assert not state["parameter"].requires_grad
    assert state["view"].untyped_storage().nbytes() == 8
    assert state["view"].tolist() == [2, 3]
    assert state["whole"].data_ptr() == storage.data_ptr()


def test_two_tensors_of_one_name_raise():
    with pytest.raises(CheckpointError, match="conv1 twice"):
        unwrap({"module.conv1": ONE, "model.conv1": TWO})


def _endless():
    content = {"epoch": 1}
    content["model"] = content
    return content


class DDRNet(StandIn):
    pass


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "entries: none"),
        ({"epoch": 3, "args": "x"}, r"epoch \(int\), args \(str\)"),
        ({"optimizer": {"state": ONE}}, r"optimizer \(dict\)"),
        (_endless(), "no tensors"),
        ([ONE], "list"),
        (ONE, "Tensor"),
        (DDRNet(), r"pickled DDRNet.*state_dict\(\)"),
        ({"epoch": 3, "model": DDRNet()}, r"pickled DDRNet.*state_dict\(\)"),
        ({"loss.weight": ONE}, "no tensors"),
        ({"weight": ONE.to_sparse()}, "no tensors"),
    ],
)
def test_without_tensors_says_what_there_is(content, message):
    with pytest.raises(CheckpointError, match=message):
        unwrap(content)


def test_a_pipe_is_refused_unread(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    for path in (tmp_path / "pipe.pth", "/dev/zero"):
        with pytest.raises(CheckpointError, match="no regular file"):
            read_state_dict(path)
