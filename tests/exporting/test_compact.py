"""Compact files: half the bytes, the same bits."""

import copy
import importlib.util
import logging

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from exported_files import NAME, nano, photos, tiny

import ddrnet

LOGGER = "ddrnet.exporting.compact"


def rounded_tiny():
    """The tiny network with the weights of float16, and BatchNorm that scales and shifts."""
    model = copy.deepcopy(tiny())
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith(("running_mean", "running_var")):
                value.copy_(torch.rand_like(value) + 0.5)
            if value.is_floating_point():
                value.copy_(value.half())
    return model


def export(model, path, **options):
    ddrnet.export(model, path, output="logits", size=(64, 96), batch=1, **options)
    return path


def logits(path):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"images": photos(1, 64, 96)})[0]


def tensors(path):
    return {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in onnx.load(path).graph.initializer
    }


@pytest.mark.slow
def test_a_compact_file_computes_the_same_bits_and_keeps_what_16_bits_do_not_hold(tmp_path, caplog):
    caplog.set_level(logging.INFO, LOGGER)
    model = rounded_tiny()
    with torch.no_grad():
        model.head.conv2.weight[0, 0, 0, 0] = 1 + 2**-20
        model.head.conv1.weight[0, 0, 0, 0] = 70000.0  # beyond the range of float16
    before = copy.deepcopy(model.state_dict())
    plain = export(model, tmp_path / "plain.onnx")
    compact = export(model, tmp_path / "compact.onnx", compact=True)
    np.testing.assert_array_equal(logits(compact), logits(plain))
    onnx.checker.check_model(onnx.load(compact), full_check=True)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    stored = tensors(compact)
    kept = {"network.head.conv1.weight", "network.head.conv2.weight"}
    assert {name for name, tensor in stored.items() if tensor.ndim == 4 and name in kept} == kept
    halves = [tensor for tensor in stored.values() if tensor.dtype == np.float16]
    convolutions = [layer for layer in model.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert len(halves) == len(convolutions) - len(kept)
    (message,) = (text for text in caplog.messages if "16 bits" in text)
    single = sum(tensor.size for tensor in tensors(plain).values())
    assert float(message.split()[0]) == pytest.approx(
        100 * sum(half.size for half in halves) / single, abs=0.1
    )


@pytest.mark.slow
def test_nano_takes_3_mb_and_runs_in_every_backend(tmp_path, exported):
    path = tmp_path / "compact.onnx"
    ddrnet.export(nano(), path, compact=True)
    assert path.stat().st_size < 3_000_000
    metadata = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert (metadata["weights"], metadata["precision"]) == (NAME, "float32")
    image = photos(1, 97, 161)[0]
    for backend in filter(importlib.util.find_spec, ("onnxruntime", "openvino")):
        found = [
            ddrnet.Predictor(file, backend=backend)(image).labels
            for file in (path, exported("nano.labels.onnx"))
        ]
        np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(("name", "half"), [("a.pt2", False), ("a.onnx", True)])
def test_only_onnx_files_of_float32_are_compact(name, half, tmp_path):
    with pytest.raises(ValueError, match=r"compact and int8 are for|choose one"):
        ddrnet.export(tiny(), tmp_path / name, half=half, compact=True)
    assert not list(tmp_path.iterdir())
