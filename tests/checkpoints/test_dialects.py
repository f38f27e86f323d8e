import re

import golden_data
import pytest
import torch

from ddrnet.checkpoints import detect_family
from ddrnet.checkpoints.dialects import Dialect, choose_dialect, detect_dialect, rename_table
from ddrnet.classifier import DDRNetClassifier
from ddrnet.errors import CheckpointError
from ddrnet.network import DDRNet
from ddrnet.variants import VARIANTS

STAGES = {
    ("official", "23"): ("3", "4"),
    ("official", "39"): ("3_1", "3_2", "4"),
    ("supergradients", "23"): ("3.0", "4"),
    ("supergradients", "39"): ("3.0", "3.1", "4"),
    ("mmseg", "23"): ("1", "2"),
}
ROOTS = {"official": "", "supergradients": "_backbone.", "mmseg": "backbone."}
CASES = [(family, model) for family in ROOTS for model in golden_data.keys(family)]


@pytest.mark.parametrize(("family", "model"), CASES)
def test_detects_the_family_of_every_published_model(family, model):
    keys = golden_data.keys(family)[model]
    assert detect_family(keys) == family
    assert detect_family(reversed(list(keys))) == family


@pytest.mark.parametrize(("family", "model"), CASES)
def test_detects_how_stages_are_numbered(family, model):
    size = "39" if "39" in model else "23"
    root, stages = ROOTS[family], STAGES[family, size]
    if model.endswith((".v0", ".v1")):
        root, stages = "backbone." if model.endswith("0") else root, ("3", "4")
    assert detect_dialect(golden_data.keys(family)[model]) == Dialect(family, root, stages)


def test_mmsegmentation_without_its_prefix_is_not_mistaken():
    """Keys without `backbone.` also occur in old files of super-gradients."""
    keys = [key.removeprefix("backbone.") for key in golden_data.keys("mmseg")["ddrnet_23"]]
    assert detect_dialect(keys) == Dialect("mmseg", "", ("1", "2"))


def test_detects_own_names():
    assert detect_dialect(["trunk.0.0.conv1.weight", "stem.0.weight"]) == Dialect("ddrnet")


@pytest.mark.parametrize(
    "keys",
    [
        [],
        ["features.0.weight"],
        ["layer1.0.conv1.weight"],
        ["conv1.0.weight", "layer1.0.conv1.weight"],
        [f"encoder.{index}.weight" for index in range(20)],
    ],
)
def test_other_names_are_of_no_family(keys):
    with pytest.raises(CheckpointError, match=r"no known DDRNet") as error:
        detect_family(keys)
    assert all(key in str(error.value) for key in keys[:8])


@pytest.mark.parametrize(("family", "size"), STAGES)
def test_chooses_what_it_detects(family, size):
    strides = [stage.stride for stage in VARIANTS[f"ddrnet_{size}"].fusion_stages]
    expected = Dialect(family, ROOTS[family], STAGES[family, size])
    assert choose_dialect(family, strides) == expected


@pytest.mark.parametrize(
    ("strides", "stages"),
    [
        ((16,), ("3",)),
        ((16, 16, 16, 32, 32), ("3_1", "3_2", "3_3", "4_1", "4_2")),
        ((16, 32, 64), ("3", "4", "5")),
    ],
)
def test_numbers_own_sizes_as_the_published_code_would(strides, stages):
    assert choose_dialect("official", strides).stages == stages


@pytest.mark.parametrize(
    ("family", "strides"),
    [
        ("mmseg", (16, 16, 32)),
        ("mmseg", (16,)),
        ("supergradients", (16,)),
        ("supergradients", (16, 32, 32)),
        ("supergradients", (16, 32, 64)),
    ],
)
def test_a_family_without_such_a_network_says_so(family, strides):
    with pytest.raises(CheckpointError, match=f"{family} has no DDRNet.*only 16"):
        choose_dialect(family, strides)


PUBLISHED = [(family, model) for family, model in CASES if "." not in model]


def rules_of(family, model):
    """The rules of a published model, and its keys in this library's names and in theirs.

    The keys of its ImageNet classifier are among them where the family has one.
    """
    theirs = golden_data.keys(family)[model]
    with torch.device("meta"):
        ours = DDRNet(VARIANTS[model], aux_head=True).state_dict()
        classifier = DDRNetClassifier(VARIANTS[model]).state_dict()
    rules, last_layers = rename_table(detect_dialect(theirs)), []
    if family == "official":
        theirs = [*theirs, *golden_data.keys(family)[f"{model}.classification"]]
        last_layers = [key for key in classifier if key not in ours]
    return rules, [*ours, *last_layers], list(theirs)


def matches(prefix, key):
    """Whether a key begins with the prefix of a rule; a placeholder is a number."""
    return re.match(re.sub(r"\\{\w+\\}", r"\\d+", re.escape(prefix)), key) is not None


@pytest.mark.parametrize(("family", "model"), PUBLISHED)
def test_every_rule_serves_a_key_on_both_sides(family, model):
    rules, ours, theirs = rules_of(family, model)
    for own, other in rules:
        if "downsample" not in own:  # not every stage changes its width
            assert any(matches(own, key) for key in ours), own
            assert any(matches(other, key) for key in theirs), other
        assert set(re.findall(r"{\w+}", own)) == set(re.findall(r"{\w+}", other))


@pytest.mark.parametrize(("family", "model"), PUBLISHED)
def test_every_published_key_has_a_rule(family, model):
    rules, ours, theirs = rules_of(family, model)
    assert all(any(matches(own, key) for own, _ in rules) for key in ours)
    assert all(any(matches(other, key) for _, other in rules) for key in theirs)


def test_own_names_stay():
    assert rename_table(Dialect("ddrnet")) == [("", "")]
