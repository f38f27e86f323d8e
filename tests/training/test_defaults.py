"""Settings that are chosen to fit the data and the device."""

import pytest
from training_runs import typed

import ddrnet
from ddrnet.training import building
from ddrnet.training.defaults import fitted

CITYSCAPES, CAMVID = ddrnet.CITYSCAPES.classes, ddrnet.CAMVID.classes
OTHER_NINETEEN = [ddrnet.ClassLabel(f"class {k}", (k, 0, 0), k) for k in range(19)]


def test_automatic_settings_fit_and_the_log_says_why(caplog):
    caplog.set_level("INFO")
    settings = fitted(typed(["--cpu"]), CAMVID)
    assert (settings.class_weights, settings.precision) == ("none", "no")
    assert "--class-weights none: none are published" in caplog.text
    assert "--precision no: without CUDA" in caplog.text


@pytest.mark.parametrize("recipe", ["paper", "single-gpu"])
def test_classes_of_cityscapes_get_its_published_weights(recipe):
    settings = fitted(typed(["--cpu"], recipe), CITYSCAPES)
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
        fitted(typed(words.split()), classes)
    assert "\n" not in str(error.value)


def test_given_values_stay(caplog):
    words = "--class-weights inverse_log --precision bf16 --cpu"
    settings = typed(words.split())
    assert fitted(settings, CAMVID) == settings
    assert not caplog.records
