import copy

import pytest
import torch

import ddrnet
from ddrnet.predictor.engine import TorchEngine, pick_device

NANO = "ddrnet_23_nano"


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return ddrnet.create_model(NANO).eval()


@pytest.fixture
def image():
    return torch.randint(0, 256, (3, 65, 97), dtype=torch.uint8)


def normalised(image, preprocessing):
    scaled = image.double() / 255
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in preprocessing)
    return ((scaled - mean) / std).float()[None]


def logits_of(model, image, **options):
    return TorchEngine(model, device="cpu", **options)(image[None])


def plain_logits(model, image):
    """Logits at stride 8 of (C, H, W) bytes, computed the plain way."""
    stride_8 = copy.deepcopy(model).eval()
    stride_8.upsample = False
    with torch.no_grad():
        return stride_8(normalised(image, (model.preprocessing.mean, model.preprocessing.std)))


def assert_close(logits, expected, rounding=1e-5):
    assert (logits - expected).abs().max() < rounding * expected.abs().max()


@pytest.mark.parametrize("fused", [False, True])
def test_the_logits_are_those_of_the_normalised_image(model, image, fused):
    logits = logits_of(model, image, fused=fused)
    assert logits.dtype == torch.float32
    assert_close(logits, plain_logits(model, image))


def test_floats_from_0_to_255_count_as_bytes(model, image):
    assert_close(logits_of(model, image.float()), logits_of(model, image))


def test_a_grey_model_sees_the_luma(image):
    model = ddrnet.create_model(NANO, in_chans=1).eval()
    luma = (torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1) * image.double()).sum(0, keepdim=True)
    expected = plain_logits(model, luma)
    assert_close(logits_of(model, image), expected)
    assert_close(logits_of(model, image.float()), expected)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_gives_float32_logits(model, image, precision):
    logits = logits_of(model, image, precision=precision)
    assert logits.dtype == torch.float32
    assert_close(logits, plain_logits(model, image), rounding=0.05)


def test_logits_that_are_no_numbers_raise(image):
    broken = ddrnet.create_model(NANO)
    torch.nn.init.constant_(broken.head.conv2.bias, torch.nan)
    with pytest.raises(ValueError, match="logits are NaN or infinite"):
        logits_of(broken, image)


def test_pick_device(device):
    assert pick_device(device.type) == device
    is_gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    assert (pick_device().type != "cpu") == is_gpu
    assert torch.ones(1, device=pick_device()).sum() == 1


@pytest.mark.parametrize("name", ["gpu", "meta", "cuda:99", ""])
def test_a_device_that_cannot_be_used_raises(name):
    with pytest.raises(ValueError, match=r"cannot be used here .* expected cpu, cuda"):
        pick_device(name)
