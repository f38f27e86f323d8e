"""Settings that are chosen to fit the data and the device."""

import pytest
import torch
from training_runs import typed

import ddrnet
from ddrnet.training import building
from ddrnet.training.defaults import fitted

CITYSCAPES, CAMVID = ddrnet.CITYSCAPES.classes, ddrnet.CAMVID.classes
OTHER_NINETEEN = [ddrnet.ClassLabel(f"class {k}", (k, 0, 0), k) for k in range(19)]


class Images(ddrnet.data.SegmentationDataset):
    """Black images of these sizes."""

    def __init__(self, classes, *sizes):
        super().__init__(classes)
        self.sizes = sizes or [(64, 64)]

    def __len__(self):
        return len(self.sizes)

    def read(self, index):
        size = self.sizes[index]
        return torch.zeros(3, *size, dtype=torch.uint8), torch.zeros(size, dtype=torch.uint8)


def test_automatic_settings_fit_and_the_log_says_why(caplog):
    caplog.set_level("INFO")
    settings = fitted(typed(["--cpu"]), Images(CAMVID))
    assert (settings.class_weights, settings.precision) == ("none", "no")
    assert "--class-weights none: no class weights are published" in caplog.text
    assert "--precision no: without CUDA" in caplog.text


@pytest.mark.parametrize("recipe", ["paper", "single-gpu"])
def test_classes_of_cityscapes_get_its_published_weights(recipe):
    settings = fitted(typed(["--cpu"], recipe), Images(CITYSCAPES))
    assert settings.class_weights == "cityscapes"
    criterion = building.build_criterion(settings, ddrnet.data.SyntheticStreets(1, (64, 64)))
    assert len(criterion.criterion.class_weights) == 19


@pytest.mark.parametrize(
    ("words", "classes", "message"),
    [
        ("--class-weights cityscapes", CAMVID, "not of the 11 .* inverse_log, median_frequency"),
        ("--class-weights cityscapes", OTHER_NINETEEN, "not of the 19 of this data"),
        ("--precision fp16 --cpu", CAMVID, "--precision bf16 or no"),
    ],
)
def test_a_given_value_that_does_not_fit_is_refused(words, classes, message):
    with pytest.raises(ValueError, match=message) as error:
        fitted(typed(words.split()), Images(classes))
    assert "\n" not in str(error.value)


def test_given_values_stay(caplog):
    words = "--class-weights inverse_log --precision bf16 --crop-size 32 --cpu"
    settings = typed(words.split())
    assert fitted(settings, Images(CAMVID)) == settings
    assert not caplog.records


@pytest.mark.parametrize(
    ("sizes", "crop", "reason"),
    [
        ([(360, 480)] * 3, (360, 480), "not above the size of the images, 360x480"),
        ([(1024, 2048)], (1024, 1024), "the published size"),
        ([(900, 2048), (1200, 700)], (900, 700), "900x700"),
    ],
)
def test_crops_are_not_larger_than_the_images(sizes, crop, reason, caplog):
    caplog.set_level("INFO")
    assert fitted(typed(["--cpu"]), Images(CAMVID, *sizes)).crop_size == crop
    assert "--crop-size {}x{}: ".format(*crop) in caplog.text
    assert reason in caplog.text
