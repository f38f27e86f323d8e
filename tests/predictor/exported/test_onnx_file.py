import subprocess
import sys

import onnx
import pytest
from exported_files import photos
from onnx import TensorProto, helper

from ddrnet.errors import ExportError
from ddrnet.predictor.exported.description import sealed
from ddrnet.predictor.exported.onnx_file import OnnxFile


def test_tells_what_it_takes(exported):
    file = OnnxFile.open(exported("tiny.logits-fixed.onnx"))
    assert (file.size, file.batch) == ((64, 96), 2)
    file = OnnxFile.open(exported("nano.labels.onnx"), threads=1)
    assert (file.size, file.batch) == (None, None)
    assert file.description.spec.classes[0].name == "Sky"
    assert file.run(photos(1, 40, 50)).shape == (1, 40, 50)


@pytest.mark.parametrize("shape", [(1, 64, 96, 3), (2, 64, 97, 3), (2, 64, 96, 4)])
def test_images_of_another_shape_are_refused(shape, exported):
    file = OnnxFile.open(exported("tiny.logits-fixed.onnx"))
    images = photos(*shape[:3])[..., [0, 1, 2, 0]][..., : shape[3]]
    with pytest.raises(ValueError, match=r"shape \(2, 64, 96, 3\), got \("):
        file.run(images)


def test_an_unknown_provider_is_refused(exported):
    with pytest.raises(ValueError, match=r"only .*CPUExecutionProvider"):
        OnnxFile.open(exported("nano.labels.onnx"), providers=["NoSuchProvider"])


def rewritten(path, change):
    """The content of the exported file after a change by somebody who can seal it again."""
    model = onnx.load(path)
    model.metadata_props.remove(model.metadata_props[-1])
    change(model)
    return sealed(model.SerializeToString())


def rename_input(model):
    model.graph.input[0].name = "pixels"
    for node in model.graph.node:
        node.input[:] = ["pixels" if name == "images" else name for name in node.input]


def add_input(model):
    value = helper.make_tensor_value_info("more", TensorProto.FLOAT, [1])
    model.graph.input.append(value)


def break_operator(model):
    model.graph.node[0].op_type = "NoSuchOperator"


def read_outside(model):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "/etc/passwd", "offset": "0", "length": "64"}.items():
        tensor.external_data.add(key=key, value=value)


@pytest.mark.parametrize("change", [rename_input, add_input, break_operator, read_outside])
def test_a_file_sealed_by_somebody_else_raises_a_clear_error(change, exported):
    with pytest.raises(ExportError, match=r"bad\.onnx"):
        OnnxFile(rewritten(exported("nano.labels.onnx"), change), "bad.onnx")


def test_a_sealed_file_without_a_graph_is_refused():
    with pytest.raises(ExportError, match=r"bad\.onnx is damaged: it holds no ONNX model"):
        OnnxFile(sealed(b"no protobuf"), "bad.onnx")


WITHOUT = """
import sys
sys.modules["onnxruntime"] = None  # importing it fails as if it were not installed
from ddrnet.predictor.exported.onnx_file import OnnxFile
OnnxFile.open(sys.argv[1])
"""


@pytest.mark.slow
def test_without_the_extra_the_error_says_what_to_install(exported):
    command = [sys.executable, "-c", WITHOUT, str(exported("nano.labels.onnx"))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert 'pip install "ddrnet[export]"' in done.stderr.splitlines()[-1]
