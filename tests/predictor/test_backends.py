"""The predictor on exported graphs against the same predictor on torch."""

import copy
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from exported_files import NAME, expected_logits, lead, nano, photos, tiny

import ddrnet
from ddrnet.predictor.backends import is_exported

BACKENDS = ["onnxruntime", "openvino"]
NEAR_TIE = 1e-5


@pytest.fixture(scope="module")
def predictors(exported):
    """A predictor for each backend, on the labels file of nano."""
    path = exported("nano.labels.onnx")
    return {name: ddrnet.Predictor(path, backend=name, confidence=True) for name in BACKENDS}


@pytest.mark.parametrize("size", [(96, 128), (33, 70), (20, 24)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_labels_and_confidence_are_those_of_torch(backend, size, predictors):
    (picture,) = photos(1, *size)
    found = predictors[backend](picture)
    expected = ddrnet.Predictor(nano(), device="cpu", confidence=True)(picture)
    assert found.labels.shape == found.confidence.shape == size
    assert found.classes == nano().classes
    if min(size) >= 32:
        assert lead(expected_logits(picture[None], nano()), found.labels[None]) <= NEAR_TIE
        np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-4)
    else:  # the enlarged image is rounded
        assert (found.labels == expected.labels).mean() > 0.99


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "options", [{"tta": (1.0,)}, {"window": (128, 128)}, {"size": (64, 96)}, {"tta": (0.5, 1.0)}]
)
def test_views_windows_and_sizes_work_as_in_torch(backend, options, exported):
    (picture,) = photos(1, 160, 200)
    found = ddrnet.Predictor(exported("nano.labels.onnx"), backend=backend, **options)(picture)
    expected = ddrnet.Predictor(nano(), device="cpu", **options)(picture)
    resizes = "size" in options or options.get("tta") == (0.5, 1.0)  # and rounds
    assert (found.labels == expected.labels).mean() > (0.99 if resizes else 0.9999)


def test_a_file_of_onnxruntime_is_the_default_and_streams(exported):
    pictures = list(photos(3, 48, 64))
    predictor = ddrnet.Predictor(str(exported("nano.labels.onnx")), threads=1)
    found = list(predictor.stream(pictures))
    for picture, result in zip(pictures, found, strict=True):
        assert np.array_equal(result.image, picture)
        assert np.array_equal(result.labels, predictor(picture).labels)


def test_a_file_of_fixed_size_and_batch_sees_every_image_at_its_size(exported):
    path = exported("tiny.logits-fixed.onnx")
    (picture,) = photos(1, 64, 96)
    result = ddrnet.Predictor(path)(picture)
    assert lead(expected_logits(picture[None], tiny()), result.labels[None]) <= NEAR_TIE
    assert ddrnet.Predictor(path)(photos(1, 50, 70)[0]).labels.shape == (50, 70)
    for options in ({"size": (64, 64)}, {"tta": (0.5,)}, {"window": (128, 128)}):
        with pytest.raises(ValueError, match="takes images of 64 x 96 alone"):
            ddrnet.Predictor(path, **options)


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_model_is_exported_in_memory(backend):
    (picture,) = photos(1, 64, 96)
    result = ddrnet.Predictor(NAME, backend=backend)(picture)
    assert lead(expected_logits(picture[None], nano()), result.labels[None]) <= NEAR_TIE


@pytest.mark.slow
def test_logits_that_are_no_numbers_raise():
    model = copy.deepcopy(nano())
    torch.nn.init.constant_(model.head.conv2.bias, torch.nan)
    with pytest.raises(ValueError, match="logits are NaN or infinite"):
        ddrnet.Predictor(model, backend="onnxruntime")(photos(1, 64, 96)[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "tensorrt"}, "backend is one of torch, onnxruntime, openvino"),
        ({"backend": "torch"}, "torch cannot run .*nano.labels.onnx"),
        ({"precision": "bfloat16"}, "precision, fused and compile are for torch"),
        ({"device": "meta"}, "does not compute on torch's device 'meta'"),
        ({"threads": 0}, "a number from 1, got 0"),
        ({"providers": ["NoSuchProvider"]}, "this onnxruntime has no NoSuchProvider"),
        ({"backend": "openvino", "providers": ["NPU9"]}, "OpenVINO takes one device"),
        ({"backend": "openvino", "providers": ["CPU", "GPU"]}, "OpenVINO takes one device"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message, exported):
    with pytest.raises(ValueError, match=message):
        ddrnet.Predictor(exported("nano.labels.onnx"), **options)


def test_torch_has_no_threads_of_its_own():
    with pytest.raises(ValueError, match=r"torch\.set_num_threads"):
        ddrnet.Predictor(nano(), threads=2)


def test_a_pt2_file_is_never_loaded(tmp_path):
    (tmp_path / "model.pt2").write_bytes(b"anything")
    with pytest.raises(ValueError, match="can run code"):
        ddrnet.Predictor(tmp_path / "model.pt2")
    assert not is_exported(nano())


def cut(path):
    path.write_bytes(path.read_bytes()[:5000])


def change(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("damage", "words"), [(cut, "no ONNX file"), (change, "has changed")])
def test_a_truncated_or_changed_file_is_refused(damage, words, backend, exported, tmp_path):
    path = tmp_path / "model.onnx"
    shutil.copy(exported("nano.labels.onnx"), path)
    damage(path)
    with pytest.raises(ddrnet.ExportError, match=words):
        ddrnet.Predictor(path, backend=backend)


WITHOUT = """
import sys
sys.modules[sys.argv[1]] = None  # importing it fails as if it were not installed
import ddrnet
try:
    ddrnet.Predictor(sys.argv[2], backend=sys.argv[1])
except ImportError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "extra"), [("onnxruntime", "export"), ("openvino", "export,openvino")]
)
def test_a_missing_package_is_an_import_error_that_says_what_to_install(backend, extra):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, backend, NAME], capture_output=True, text=True
    )
    assert f'pip install "ddrnet[{extra}]"' in done.stdout
