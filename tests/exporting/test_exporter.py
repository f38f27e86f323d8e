"""Exported files in plain runtimes, without this library's reader."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from exported_files import NAME, expected_logits, lead, nano, photos, tiny

import ddrnet
from ddrnet.exporting.exporter import METADATA
from ddrnet.network import DDRNet
from ddrnet.variants import VARIANTS

SIZES = [(32, 32), (33, 70), (128, 256)]
TOLERANCE = 1e-3, 1e-5  # of the range of the logits: of logits, of the lead of a wrong label


def run(path, images, **options):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"], **options)
    (result,) = session.run(None, {"images": images})
    return result


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_labels_are_those_of_the_model(size, n, exported):
    images = photos(n, *size)
    labels = run(exported("nano.labels.onnx"), images)
    assert labels.dtype == np.uint8
    assert labels.shape == (n, *size)
    assert lead(expected_logits(images, nano()), labels) <= TOLERANCE[1]
    assert len(np.unique(labels)) > 1 or size == (32, 32)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_logits_are_those_of_the_model(size, n, exported):
    images = photos(n, *size)
    logits = run(exported("tiny.logits.onnx"), images)
    expected = expected_logits(images, tiny())
    assert logits.shape == tuple(expected.shape)
    difference = (torch.from_numpy(logits) - expected).abs().max()
    assert difference <= TOLERANCE[0] * (expected.max() - expected.min())


@pytest.mark.slow
def test_images_of_one_channel_have_any_size(tmp_path):
    model = ddrnet.create_model("ddrnet_23_nano", num_classes=5, in_chans=1).eval()
    ddrnet.export(model, tmp_path / "grey.onnx", output="logits")
    for n, *size in [(1, 32, 32), (3, 33, 70), (2, 300, 401)]:
        images = photos(n, *size)[..., :1]
        logits = run(tmp_path / "grey.onnx", images)
        expected = expected_logits(images, model)
        difference = (torch.from_numpy(logits) - expected).abs().max()
        assert difference <= TOLERANCE[0] * (expected.max() - expected.min())


def test_labels_take_a_76th_of_the_bytes_of_full_logits(exported):
    images = photos(1, 64, 96)
    assert run(exported("nano.labels.onnx"), images).nbytes * 19 * 4 == 64 * 96 * 19 * 4


def test_an_onnx_file_is_one_valid_simple_file(exported):
    path = exported("nano.labels.onnx")
    model = onnx.load(path, load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert all(tensor.data_location == 0 for tensor in model.graph.initializer)  # none outside
    assert not any("aux_head" in tensor.name for tensor in model.graph.initializer)
    assert not model.functions
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    norms = [node for node in model.graph.node if node.op_type == "BatchNormalization"]
    assert all(makers[node.input[0]] != "Conv" for node in norms)
    assert str(Path(ddrnet.__file__).parent).encode() not in path.read_bytes()


def test_metadata_describe_the_file(exported):
    model = onnx.load(exported("nano.labels.onnx"))
    found = {entry.key: entry.value for entry in model.metadata_props}
    row = ddrnet.get_weights(NAME)
    assert found["weights"] == NAME
    assert (found["license"], found["data_terms"]) == (row.license, row.data_terms)
    assert found["library_version"] == model.producer_version == ddrnet.__version__
    config = json.loads(found["config"])
    assert [(label["name"], tuple(label["color"])) for label in config["classes"]] == [
        (label.name, label.color) for label in ddrnet.CAMVID.classes
    ]
    assert config["preprocessing"] == {
        "mean": list(nano().preprocessing.mean),
        "std": list(nano().preprocessing.std),
    }
    assert [dim.dim_param or dim.dim_value for dim in input_shape(model)] == [
        "batch", "height", "width", 3,
    ]  # fmt: skip


def input_shape(model):
    return model.graph.input[0].type.tensor_type.shape.dim


FRESH = """
import sys
sys.modules["ddrnet"] = None  # importing it fails
import numpy, torch
extra = {sys.argv[4]: ""}
module = torch.export.load(sys.argv[1], extra_files=extra).module()
images = torch.from_numpy(numpy.load(sys.argv[2]))
numpy.save(sys.argv[3], module(images).numpy())
print(extra[sys.argv[4]])
"""


@pytest.mark.slow
def test_a_pt2_file_runs_in_a_fresh_process_without_this_library(tmp_path, exported):
    images = photos(3, 65, 97)
    np.save(tmp_path / "images.npy", images)
    path = exported("tiny.labels.pt2")
    arguments = [path, tmp_path / "images.npy", tmp_path / "labels.npy", METADATA]
    done = subprocess.run(
        [sys.executable, "-c", FRESH, *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads(json.loads(done.stdout)["config"])["classes"]) == 5
    labels = np.load(tmp_path / "labels.npy")
    assert len(np.unique(labels)) > 1
    assert lead(expected_logits(images, tiny()), labels) <= TOLERANCE[1]


@pytest.mark.slow
def test_a_fixed_size_and_batch_stand_in_the_file(exported):
    path = exported("tiny.logits-fixed.onnx")
    shape = input_shape(onnx.load(path))
    assert [dim.dim_value for dim in shape] == [2, 64, 96, 3]
    assert run(path, photos(2, 64, 96)).shape == (2, 5, 8, 12)


def broken():
    model = copy.deepcopy(tiny())
    torch.nn.init.constant_(model.head.conv2.bias, torch.nan)
    return model


def test_nothing_is_written_when_file_and_model_differ(tmp_path):
    path = tmp_path / "model.pt2"
    path.write_bytes(b"old")
    with pytest.raises(ddrnet.ExportError, match=r"differs from the model.*nan.*tolerated"):
        ddrnet.export(broken(), path, output="logits", size=(32, 32), batch=1)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"path": "model.engine"}, ValueError, r"\.onnx, or \.pt2"),
        ({"path": "missing/model.onnx"}, FileNotFoundError, "no folder"),
        ({"output": "masks"}, ValueError, "labels, logits, full"),
        ({"size": (31, 64)}, ValueError, "from 32"),
        ({"batch": 0}, ValueError, "from 1"),
        ({"model": DDRNet(VARIANTS["ddrnet_23_nano"], 257)}, ValueError, "256 classes"),
        ({"model": torch.nn.Identity()}, TypeError, "expected a DDRNet"),
        ({"model": "ddrnet_99"}, ddrnet.UnknownModelError, "ddrnet_99"),
    ],
)
def test_wrong_arguments_say_what_is_expected(arguments, error, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=words):
        ddrnet.export(**{"model": nano(), "path": "model.onnx", **arguments})
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_same_model_gives_the_same_bytes(tmp_path, exported):
    ddrnet.export(nano(), tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == exported("nano.labels.onnx").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("output", ["labels", "logits", "full"])
@pytest.mark.parametrize("suffix", ["onnx", "pt2"])
def test_half_precision_stays_close(output, suffix, tmp_path, exported):
    differences = ddrnet.export(nano(), tmp_path / f"half.{suffix}", output=output, half=True)
    assert max(difference.largest for difference in differences) < 5e-3
    full = exported(f"nano.{output}.{suffix}")
    assert (tmp_path / f"half.{suffix}").stat().st_size < 0.6 * full.stat().st_size
