"""Descriptions of models: merged, checked, written and read again."""

import contextlib
import json
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddrnet.errors import HubError
from ddrnet.labels import CAMVID, CITYSCAPES, class_labels
from ddrnet.spec import ModelSpec, PartialSpec, is_own_config, numbered_classes
from ddrnet.variants import VARIANTS
from ddrnet.weights import ROWS
from ddrnet.weights.row import IMAGENET, Metric, Preprocessing

NANO = VARIANTS["ddrnet_23_nano"]
THREE = class_labels(["road", "path", "sky"])

partial_specs = st.builds(
    PartialSpec,
    config=st.sampled_from([None, *VARIANTS.values()]),
    num_classes=st.none() | st.just(3),
    in_chans=st.none() | st.integers(1, 6),
    aux_head=st.none() | st.booleans(),
    upsample=st.none() | st.booleans(),
    classes=st.sampled_from([None, THREE]),
)


@given(partial_specs, partial_specs)
def test_each_value_comes_from_the_first_spec_that_gives_it(first, second):
    merged = first.over(second)
    for name in ("config", "in_chans", "aux_head", "upsample"):
        values = [getattr(spec, name) for spec in (first, second)]
        expected = next((value for value in values if value is not None), None)
        assert getattr(merged, name) == expected


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"classes": THREE}, {"num_classes": 11}, (3, THREE)),
        ({"classes": THREE}, {"classes": CAMVID.classes}, (3, THREE)),
        ({"num_classes": 3}, {"classes": THREE}, (3, THREE)),
        ({"num_classes": 5}, {"classes": THREE}, (5, None)),
        ({}, {"classes": THREE}, (None, THREE)),
        ({}, {"classes": THREE, "num_classes": 3}, (3, THREE)),
    ],
)
def test_classes_and_their_number_go_together(first, second, expected):
    merged = PartialSpec(**first).over(PartialSpec(**second))
    assert (merged.num_classes, merged.classes) == expected


def test_a_whole_spec_has_the_documented_defaults():
    spec = PartialSpec(config=NANO).complete()
    assert spec.classes == CITYSCAPES.classes
    assert (spec.num_classes, spec.in_chans, spec.aux_head, spec.upsample) == (19, 3, False, True)
    assert spec.preprocessing == IMAGENET
    numbered = PartialSpec(config=NANO, num_classes=2).complete()
    assert [row.name for row in numbered.classes] == ["class_0", "class_1"]


def test_normalisation_of_rgb_is_extended_to_further_channels():
    mean = PartialSpec(config=NANO, in_chans=4).complete().preprocessing.mean
    assert mean[:3] == IMAGENET.mean
    assert mean[3] == pytest.approx(sum(IMAGENET.mean) / 3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "size of the model is not known"),
        ({"config": NANO, "num_classes": 0}, "num_classes is at least 1, got 0"),
        ({"config": NANO, "in_chans": 0}, "at least 1, got 19 and 0"),
        (
            {"config": NANO, "preprocessing": Preprocessing((0.5,), (0.5,))},
            "needs 3 means and standard deviations",
        ),
    ],
)
def test_a_description_that_makes_no_model_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        PartialSpec(**fields).complete()


def test_class_names_and_another_number_contradict_each_other():
    with pytest.raises(ValueError, match="num_classes=4 contradicts 3 class names"):
        PartialSpec(num_classes=4, classes=THREE)


def test_a_spec_survives_its_json():
    metric = Metric("mIoU", 0.75, "Fields", "val", (256, 512), reported_by="me")
    spec = PartialSpec(config=NANO, classes=CAMVID.classes, in_chans=4, aux_head=True).complete()
    spec = replace(spec, metrics=(metric,), pretrained="ddrnet_23.cityscapes")
    text = spec.to_json()
    assert ModelSpec.from_json(text, "here") == spec
    assert spec.row in ROWS
    assert text == replace(spec).to_json()


def test_weights_of_another_version_have_no_row():
    spec = replace(PartialSpec(config=NANO).complete(), pretrained="ddrnet_23.of_tomorrow")
    assert spec.row is None


def test_only_our_config_is_ours():
    text = PartialSpec(config=NANO).complete().to_json()
    assert is_own_config(text)
    for other in ('{"library": "timm"}', "[]", "{", "3"):
        assert not is_own_config(other)
        with pytest.raises(HubError, match="somewhere"):
            ModelSpec.from_json(other, "somewhere")


def test_numbered_classes_have_colours_of_their_own():
    colors = [row.color for row in numbered_classes(30)]
    assert len(set(colors)) == 30


def test_config_json_has_a_fixed_beginning():
    names = list(json.loads(PartialSpec(config=NANO).complete().to_json()))
    assert names[:4] == ["library", "config_version", "architecture", "config"]


def test_no_torch_is_loaded():
    code = "import sys, ddrnet.spec; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def changed(**fields):
    return json.dumps(json.loads(PartialSpec(config=NANO).complete().to_json()) | fields)


BIG = NANO.to_dict()
ROW = {"name": "a", "color": [1, 2, 3]}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[" * 100_000, id="nested"),
        pytest.param('{"a":' * 100_000, id="nested objects"),
        pytest.param('{"library": "ddrnet", "library": "ddrnet"}', id="twice"),
        pytest.param(changed(config=BIG | {"width": 10**6}), id="width"),
        pytest.param(changed(config=BIG | {"trunk_depths": [2, 10**9]}), id="depth"),
        pytest.param(changed(config=BIG | {"fusion_stages": [[16, 1]] * 10**4}), id="stages"),
        pytest.param(changed(config=BIG | {"head_width": 10**9}), id="head"),
        pytest.param(changed(config=BIG | {"width": 16.5}), id="half a channel"),
        pytest.param(changed(config=[1, 2]), id="a list as config"),
        pytest.param(changed(config=None), id="no config"),
        pytest.param(changed(num_classes=10**9, classes=[]), id="classes"),
        pytest.param(changed(in_chans=10**9), id="channels"),
        pytest.param(changed(in_chans=True), id="a truth value as number"),
        pytest.param(changed(classes=[{**ROW, "name": None}], num_classes=1), id="no name"),
        pytest.param(changed(classes=[{**ROW, "name": ""}], num_classes=1), id="empty name"),
        pytest.param(changed(classes=[{**ROW, "name": "\x1b[2J"}], num_classes=1), id="escape"),
        pytest.param(changed(classes=[{**ROW, "color": "red"}], num_classes=1), id="red"),
        pytest.param(changed(classes=[{**ROW, "color": [1, 2, 0.5]}], num_classes=1), id="float"),
        pytest.param(changed(classes=5), id="no list of classes"),
        pytest.param(changed(classes=[5]), id="no class"),
        pytest.param(changed(preprocessing={"mean": [1], "std": [1]}), id="one mean"),
        pytest.param(changed(preprocessing={"mean": 1, "std": 1}), id="no list of means"),
        pytest.param(changed().replace("0.485", "1e400"), id="1e400"),
        pytest.param(changed().replace("0.485", "NaN"), id="NaN"),
        pytest.param(changed().replace("0.485", "9" * 5000), id="a number of 5000 digits"),
        pytest.param(changed(metrics=[{"name": 5}]), id="metric"),
        pytest.param(changed(pretrained=["a"]), id="list as name"),
        pytest.param(changed(task=["segmentation"]), id="list as task"),
    ],
)
def test_a_hostile_config_is_refused(text):
    with pytest.raises(HubError, match=r"config\.json of here"):
        ModelSpec.from_json(text, "here")


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
), st.sampled_from(sorted(json.loads(changed()))))  # fmt: skip
def test_no_value_of_a_config_escapes_as_another_error(value, name):
    with contextlib.suppress(HubError):
        ModelSpec.from_json(changed(**{name: value}), "here")


def test_what_could_not_be_read_again_is_not_written():
    classes = class_labels(["a\tb", "c"])
    with pytest.raises(ValueError, match="cannot be printed"):
        PartialSpec(config=NANO, classes=classes).complete().to_json()
