import numpy as np
import pytest
import torch

import ddrnet
from ddrnet.predictor.pipeline import check_model, pick_device, segment

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


def test_segment_normalises_and_predicts(model, image):
    labels = segment(model, image)
    preprocessing = (model.preprocessing.mean, model.preprocessing.std)
    expected = model(normalised(image, preprocessing)).argmax(dim=1)[0]
    assert labels.shape == (65, 97)
    assert labels.dtype == np.uint8
    assert (labels == expected.numpy()).mean() > 0.999
    assert len(np.unique(labels)) > 1


def test_segment_leaves_the_mode_of_the_model(model, image):
    model.train()
    segment(model, image)
    assert model.training
    model.eval()


def test_a_grey_model_sees_the_luma(image):
    model = ddrnet.create_model(NANO, in_chans=1).eval()
    luma = (torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1) * image.double()).sum(0, keepdim=True)
    expected = model(normalised(luma, (model.preprocessing.mean, model.preprocessing.std)))
    assert (segment(model, image) == expected.argmax(dim=1)[0].numpy()).mean() > 0.999


def test_a_model_in_half_precision_works(model, image):
    half = ddrnet.create_model(NANO).bfloat16().eval()
    assert segment(half, image).shape == (65, 97)


def test_logits_that_are_no_numbers_raise(image):
    broken = ddrnet.create_model(NANO)
    torch.nn.init.constant_(broken.head.conv2.bias, torch.nan)
    with pytest.raises(ValueError, match="logits are NaN or infinite"):
        segment(broken, image)
    assert not broken.head._forward_hooks


def test_a_small_image_raises(model):
    with pytest.raises(ValueError, match="at least 32 pixels, got 31 x 40"):
        segment(model, torch.zeros(3, 31, 40, dtype=torch.uint8))


def test_a_model_that_files_cannot_serve_is_refused(model):
    check_model(model)
    with pytest.raises(ValueError, match="4 channels; image files have 3"):
        check_model(ddrnet.create_model(NANO, in_chans=4))
    with pytest.raises(ValueError, match="257 classes; label files hold at most 256"):
        check_model(ddrnet.create_model(NANO, num_classes=257))


def test_pick_device(device):
    assert pick_device(device.type) == device
    is_gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    assert (pick_device().type != "cpu") == is_gpu
    assert torch.ones(1, device=pick_device()).sum() == 1


@pytest.mark.parametrize("name", ["gpu", "meta", "cuda:99", ""])
def test_a_device_that_cannot_be_used_raises(name):
    with pytest.raises(ValueError, match=r"cannot be used here .* expected cpu, cuda"):
        pick_device(name)
