"""Networks of 8 bits against their models, and against integers computed by hand."""

import numpy as np
import onnx
import pytest
import torch
from exported_files import expected_logits, photos, tiny
from PIL import Image

import ddrnet
from ddrnet.exporting.calibration import MOST_IMAGES, CalibrationImages
from ddrnet.exporting.verification import verify
from ddrnet.predictor.exported.graphs import ImageGraph

MODEL = "ddrnet_23_nano.synthetic"
STREETS = ddrnet.data.SyntheticStreets(8, (96, 128))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of six rendered streets."""
    folder = tmp_path_factory.mktemp("pictures")
    for index in range(6):
        Image.fromarray(STREETS[index][0].permute(1, 2, 0).numpy()).save(folder / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def model():
    return ddrnet.create_model(MODEL, pretrained=True).eval()


@pytest.fixture(scope="module")
def quantised(model, pictures, tmp_path_factory):
    """A shipped nano in 8 bits, and the differences that its export found."""
    path = tmp_path_factory.mktemp("files") / "nano.onnx"
    return path, ddrnet.export(model, path, int8=True, calibration=pictures)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_labels_agree_with_the_model_on_images_that_were_not_seen(quantised, model, backend):
    predictor = ddrnet.Predictor(quantised[0], backend=backend)
    floats = ddrnet.Predictor(model, device="cpu")
    for index in (6, 7):
        image = STREETS[index][0]
        assert (predictor(image).labels == floats(image).labels).mean() > 0.93


@pytest.mark.slow
def test_the_file_says_what_it_is_and_computes_whole_numbers(quantised):
    path, differences = quantised
    model = onnx.load(path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert (metadata["precision"], metadata["weights"]) == ("int8", MODEL)
    tensors = {
        tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer
    }
    makers = {name: node for node in model.graph.node for name in node.output}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    weights = [makers.get(node.input[1]) for node in convolutions]
    assert weights[-1] is None  # the last one stays in float
    stored = [tensors[node.input[0]] for node in weights[:-1]]
    assert {values.dtype for values in stored} == {np.dtype(np.int8)}
    assert max(np.abs(values.astype(int)).max() for values in stored) <= 64  # 7 bits
    (first,) = (
        node for node in model.graph.node if "images" in node.input and node.op_type != "Shape"
    )
    bytes_in = next(node for node in model.graph.node if first.output[0] in node.input)
    assert bytes_in.op_type == "DequantizeLinear"  # no way through float
    assert (tensors[bytes_in.input[1]], tensors[bytes_in.input[2]]) == (1, 114)
    assert path.stat().st_size < 1_800_000
    assert len(differences) == 6 + 6
    assert 0 < sum(difference.labels for difference in differences[-6:]) / 6 < 0.06


@pytest.mark.slow
def test_an_old_file_is_compared_and_another_model_told_apart(quantised, model):
    assert len(verify(quantised[0])) == 6
    other = model.without_aux_head()
    with torch.no_grad():
        other.head.conv2.weight.copy_(other.head.conv2.weight.flip(0))
    with pytest.raises(ddrnet.ExportError, match="the file differs from the model"):
        verify(quantised[0], other)


@pytest.mark.slow
def test_images_unlike_all_others_give_no_file(model, tmp_path):
    black = [np.zeros((64, 96, 3), np.uint8)]
    with pytest.raises(ddrnet.ExportError, match="for int8"):
        ddrnet.export(model, tmp_path / "black.onnx", int8=True, calibration=black)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("output", ["logits", "full"])
def test_every_output_and_a_fixed_size(output, pictures, tmp_path):
    path = tmp_path / "tiny.onnx"
    found = ddrnet.export(
        tiny(), path, output=output, size=(64, 96), batch=2, int8=True, calibration=pictures
    )
    assert {difference.batch for difference in found} == {2}
    assert {difference.size for difference in found} == {(64, 96)}
    assert len(found) == 1 + 6


def test_the_stem_computes_normalised_images_from_bytes():
    images = photos(1, 96, 128)
    graph = ImageGraph(tiny(), "logits", normalisation_in_stem=True)
    found = graph(torch.from_numpy(images))
    expected = expected_logits(images, tiny())
    spread = expected.max() - expected.min()
    inside = (found - expected)[:, :, 4:-4, 4:-4].abs().max() / spread
    assert inside < 0.05  # the other colour around the image reaches far through the pooling
    assert (found - expected).abs().mean() / spread < 0.01


def test_images_are_spread_evenly_and_fitted(tmp_path):
    shades = [np.full((40, 50, 3), shade, np.uint8) for shade in range(200)]
    images = CalibrationImages(shades, 3, (32, 48), 2)
    found = list(images)
    assert len(found) == len(images) == MOST_IMAGES
    assert {image.shape for image in found} == {(2, 32, 48, 3)}
    seen = [int(image[0, 0, 0, 0]) for image in found]
    assert (seen[0], seen[-1]) == (0, 199)
    assert set(np.diff(seen)) <= {3, 4}
    assert [image.shape for image in CalibrationImages(shades[:1], 1, None, None)] == [
        (1, 40, 50, 1)
    ]
    with pytest.raises(ValueError, match="no image to calibrate with"):
        CalibrationImages([], 3, None, None)
    with pytest.raises(ValueError, match="no image"):
        CalibrationImages(tmp_path, 3, None, None)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"int8": True}, "needs calibration"),
        ({"calibration": "photos"}, "no effect without int8"),
        ({"int8": True, "half": True, "calibration": "photos"}, "choose one"),
        ({"int8": True, "calibration": "no-such-folder"}, "no-such-folder"),
    ],
)
def test_options_that_do_not_fit_say_so(options, words, tmp_path):
    with pytest.raises((ValueError, OSError), match=words):
        ddrnet.export(tiny(), tmp_path / "a.onnx", **options)
    assert not list(tmp_path.iterdir())
