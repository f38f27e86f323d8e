"""The settings of a run."""

import json

import pytest

from ddrnet.training import Settings


def test_a_count_of_pixels_replaces_the_share():
    settings = Settings().changed({"min_kept": 500})
    assert (settings.min_kept, settings.min_kept_fraction) == (500, None)
    both = {"min_kept": 500, "min_kept_fraction": 0.5}
    assert Settings().changed(both).min_kept_fraction == 0.5


def test_changes_replace_and_the_rest_stays():
    settings = Settings(lr=0.25, batch_size=7).changed({"lr": 0.5})
    assert settings == Settings(lr=0.5, batch_size=7)
    with pytest.raises(ValueError, match="unknown settings: colour, taste"):
        settings.changed({"taste": 1, "colour": 1})


@pytest.mark.parametrize("name", ["data", "loss", "class_weights", "precision"])
def test_a_value_that_is_not_in_the_list_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} is one of .*, got 'OHEM'"):
        Settings(**{name: "OHEM"})
    with pytest.raises(ValueError, match=f"{name} is one of"):
        Settings().changed({name: None})


def test_as_json_all_can_be_read_back():
    settings = Settings(scale=(0.25, 4.0))
    assert json.loads(settings.to_json()) == json.loads(json.dumps(vars(settings)))


def test_the_folder_is_named_for_data_and_model():
    assert Settings(data="camvid", model="ddrnet_39").folder == "runs/camvid-ddrnet_39"
    assert Settings(data_path="/data/lakes/", model="ddrnet_39").folder == "runs/lakes-ddrnet_39"
    assert Settings(output="here").folder == "here"
