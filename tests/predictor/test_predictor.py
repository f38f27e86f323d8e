"""The predictor against the plain way: decode, normalise, network, upsample, argmax."""

import copy

import golden_data
import numpy as np
import pytest
import torch
from loopback import Loopback
from PIL import Image
from torch.nn import functional as F

import ddrnet
from ddrnet.errors import CheckpointError, UnknownModelError, WeightsUnavailableError
from ddrnet.upsampling import upsample

NANO = "ddrnet_23_nano"
CAMVID = f"{NANO}.camvid"


@pytest.fixture(scope="module")
def model():
    return ddrnet.create_model(CAMVID, pretrained=True).eval()


@pytest.fixture(scope="module")
def predictor(model):
    return ddrnet.Predictor(model, device="cpu", confidence=True)


@pytest.fixture(scope="module")
def picture():
    """A rendered street, (H, W, 3)."""
    image, _ = ddrnet.data.SyntheticStreets(1, (90, 130))[0]
    return image.permute(1, 2, 0).numpy()


def plain_logits(model, picture):
    normalize = ddrnet.data.Normalize.from_model(model)
    with torch.no_grad():
        return model(normalize(torch.from_numpy(picture).permute(2, 0, 1)[None]))


def agreement(labels, logits):
    return (labels == logits.argmax(1)[0].numpy()).mean()


def test_labels_and_confidence_are_those_of_the_plain_way(model, predictor, picture):
    result = predictor(picture)
    logits = plain_logits(model, picture)
    assert result.labels.dtype == np.uint8
    assert agreement(result.labels, logits) > 0.9999
    expected = logits.softmax(1).amax(1)[0].numpy()
    np.testing.assert_allclose(result.confidence, expected, atol=1e-4)
    assert np.array_equal(result.image, picture)
    assert set(result.speed) == {"decode", "network", "labels"}
    assert min(result.speed.values()) >= 0


def test_every_kind_of_source_gives_the_same(predictor, picture, tmp_path):
    expected = predictor(picture).labels
    path = tmp_path / "street.png"
    Image.fromarray(picture).save(path)
    tensor = torch.from_numpy(picture).permute(2, 0, 1)
    alpha = np.dstack([picture, picture[:, :, :1]])
    with Loopback() as server:
        address = server.serve("/street.png", path.read_bytes())
        for source in (path, str(path), address, Image.open(path), tensor, alpha):
            result = predictor(source)
            assert np.array_equal(result.labels, expected)
            named = isinstance(source, str) or source is path
            assert result.source == (str(source) if named else "")


def test_images_in_memory_have_the_labels_of_the_same_sources(predictor, picture):
    images = torch.from_numpy(np.stack([picture, picture[::-1]])).permute(0, 3, 1, 2)
    labels = predictor.predict(images)
    assert labels.dtype == torch.uint8
    for image, found in zip(images, labels, strict=True):
        assert np.array_equal(found.numpy(), predictor(image).labels)
    for wrong in (images[0], images.float(), images[:0]):
        with pytest.raises(ValueError, match="expected uint8 images of shape"):
            predictor.predict(wrong)


def test_a_result_keeps_its_image_when_the_source_changes(predictor, picture):
    tensor = torch.from_numpy(picture.copy()).permute(2, 0, 1)
    result = predictor(tensor)
    tensor.zero_()
    assert np.array_equal(result.image, picture)


def test_grey_pictures_are_repeated(predictor, picture):
    grey = picture[:, :, 0]
    expected = predictor(np.repeat(grey[:, :, None], 3, axis=2)).labels
    assert np.array_equal(predictor(grey).labels, expected)
    assert np.array_equal(predictor(grey[:, :, None]).labels, expected)
    assert np.array_equal(predictor(Image.fromarray(grey)).labels, expected)


def test_models_of_other_channels_read_arrays(picture):
    model = ddrnet.create_model(NANO, in_chans=5)
    predictor = ddrnet.Predictor(model, device="cpu")
    five = np.dstack([picture, picture[:, :, :2]])
    result = predictor(five)
    assert agreement(result.labels, plain_logits(model.eval(), five)) > 0.999
    assert result.overlay().size == (130, 90)
    with pytest.raises(ValueError, match="the image has 3 channels, the model reads 5"):
        predictor(picture)


@pytest.mark.parametrize("size", [(1, 1), (20, 20), (31, 64), (64, 20)])
def test_images_below_32_pixels_are_enlarged(predictor, picture, size):
    result = predictor(picture[: size[0], : size[1]])
    assert result.labels.shape == result.confidence.shape == size


def test_another_size_for_the_network_keeps_the_size_of_the_labels(model, picture):
    result = ddrnet.Predictor(model, device="cpu", size=(64, 96))(picture)
    assert result.labels.shape == (90, 130)
    images = ddrnet.data.Normalize.from_model(model)(
        torch.from_numpy(picture).permute(2, 0, 1)[None]
    )
    small = F.interpolate(images, (64, 96), mode="bilinear", antialias=True)
    stride_8 = copy.deepcopy(model)
    stride_8.upsample = False
    with torch.no_grad():
        assert agreement(result.labels, upsample(stride_8(small), (90, 130))) > 0.9999


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_agrees_nearly(model, picture, precision):
    result = ddrnet.Predictor(model, device="cpu", precision=precision)(picture)
    assert agreement(result.labels, plain_logits(model, picture)) > 0.97


def test_without_folding_the_labels_are_the_same(model, picture):
    result = ddrnet.Predictor(model, device="cpu", fused=False)(picture)
    assert agreement(result.labels, plain_logits(model, picture)) > 0.9999


def test_the_model_is_left_alone(picture):
    model = ddrnet.create_model(NANO, aux_head=True)
    model.trunk.eval()
    modes = [module.training for module in model.modules()]
    before = copy.deepcopy(model.state_dict())
    ddrnet.Predictor(model, device="cpu", precision="bfloat16")(picture)
    assert modes == [module.training for module in model.modules()]
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert isinstance(model(torch.zeros(2, 3, 64, 64)), ddrnet.SegmentationOutput)


def test_names_folders_and_files_are_loaded(model, picture, tmp_path):
    ddrnet.save_pretrained(model, tmp_path / "saved")
    torch.save(model.state_dict(), tmp_path / "own.pth")
    expected = ddrnet.Predictor(model, device="cpu")(picture).labels
    for source in (
        CAMVID,
        f"local-dir:{tmp_path / 'saved'}",
        tmp_path / "saved",
        tmp_path / "saved" / "model.safetensors",
        str(tmp_path / "own.pth"),
    ):
        assert np.array_equal(ddrnet.Predictor(source, device="cpu")(picture).labels, expected)


def test_untrained_models_are_refused(tmp_path):
    with pytest.raises(WeightsUnavailableError, match="initialises a training"):
        ddrnet.Predictor("ddrnet_23_slim.in1k")
    shapes = golden_data.keys("official")["ddrnet_23_slim.classification"]
    torch.save(golden_data.state_dict(shapes), tmp_path / "classifier.pth")
    with pytest.raises(CheckpointError, match="leaves dappm, head untrained"):
        ddrnet.Predictor(tmp_path / "classifier.pth")
    with pytest.raises(UnknownModelError, match="ddrnet_23_nano"):
        ddrnet.Predictor("ddrnet_23_nanno")
    with pytest.raises(TypeError, match="expected a DDRNet, a name or a path, got int"):
        ddrnet.Predictor(5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int8"}, "precision is one of float32, bfloat16, float16, got 'int8'"),
        ({"size": (16, 64)}, "size is a height and a width from 32 pixels"),
        ({"size": (64,)}, "size is a height and a width"),
        ({"device": "gpu"}, "the device 'gpu' cannot be used"),
    ],
)
def test_wrong_options_are_refused(model, options, message):
    with pytest.raises(ValueError, match=message):
        ddrnet.Predictor(model, **options)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (np.zeros((64, 64, 3), np.float32), ValueError, "of uint8, got float32"),
        (torch.full((3, 64, 64), torch.nan), ValueError, "of uint8, got torch.float32"),
        (np.zeros((64, 64, 5), np.uint8), ValueError, "has 5 channels, the model reads 3"),
        (np.zeros((2, 64, 64, 3), np.uint8), ValueError, r"got uint8 \(2, 64, 64, 3\)"),
        (np.zeros((0, 64, 3), np.uint8), ValueError, r"no pixels: its shape is \(0, 64, 3\)"),
        (None, TypeError, "got NoneType"),
        ("absent.png", FileNotFoundError, "absent.png"),
        ("http://127.0.0.1:9/x.png", ValueError, "cannot fetch http://127.0.0.1:9/x.png"),
    ],
)
def test_what_is_no_image_is_refused(predictor, source, error, message):
    with pytest.raises(error, match=message):
        predictor(source)


def test_a_damaged_download_is_named(predictor):
    with Loopback() as server:
        address = server.serve("/x.png", b"no image")
        with pytest.raises(ValueError, match=r"cannot fetch .*x\.png.*cannot identify image file"):
            predictor(address)


@pytest.mark.slow
def test_a_compiled_predictor_gives_the_same(model, picture):
    compiled = ddrnet.Predictor(model, device="cpu", compile=True)
    assert agreement(compiled(picture).labels, plain_logits(model, picture)) > 0.9999
