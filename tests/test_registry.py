import subprocess
import sys

import pytest

from ddrnet import registry
from ddrnet.errors import DDRNetError, UnknownModelError, WeightsUnavailableError
from ddrnet.registry import get_weights, is_model, list_models, register_model, split_name
from ddrnet.variants import VARIANTS, DDRNetConfig

OWN = DDRNetConfig(8, (1, 1), ((16, 1), (32, 1)), 16, 16)


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    """Let a test register models without leaving them to the next one."""
    monkeypatch.setattr(registry, "_CONFIGS", dict(registry._CONFIGS))


def test_lists_the_zoo_in_order_of_size():
    assert list_models() == ["ddrnet_23_nano", "ddrnet_23_slim", "ddrnet_23", "ddrnet_39"]
    assert list_models("*23*") == ["ddrnet_23_nano", "ddrnet_23_slim", "ddrnet_23"]
    assert list_models("*resnet*") == []


def test_lists_weights_by_model_or_whole_name():
    names = list_models(pretrained=True)
    assert "ddrnet_39.cityscapes_sg" in names
    assert all(is_model(name) for name in names)
    assert list_models("ddrnet_39", pretrained=True) == [n for n in names if "_39." in n]
    assert set(list_models("*.cityscapes", pretrained=True)) == {
        "ddrnet_23_slim.cityscapes",
        "ddrnet_23.cityscapes",
    }


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("ddrnet-23-slim", "ddrnet_23_slim"),
        ("DDRNet23Slim", "ddrnet_23_slim"),
        ("DDRNET_39", "ddrnet_39"),
        ("ddrnet_23_slm", "ddrnet_23_slim"),
        ("ddrnet23", "ddrnet_23"),
    ],
)
def test_a_misspelt_model_names_the_nearest(wrong, nearest):
    with pytest.raises(UnknownModelError, match=rf"did you mean {nearest}\b"):
        split_name(wrong)


def test_a_model_near_to_nothing_lists_all():
    with pytest.raises(UnknownModelError) as caught:
        split_name("vgg16")
    assert all(name in str(caught.value) for name in VARIANTS)
    assert isinstance(caught.value, DDRNetError)
    assert isinstance(caught.value, ValueError)


def test_a_misspelt_tag_names_the_nearest():
    with pytest.raises(UnknownModelError, match="did you mean cityscapes_mmseg"):
        split_name("ddrnet_23.Cityscapes-MMSeg")
    with pytest.raises(UnknownModelError, match=r"known are .*cityscapes_sg"):
        split_name("ddrnet_39.kitti")
    with pytest.raises(UnknownModelError, match="''"):
        split_name("ddrnet_39.")


@pytest.mark.parametrize("name", ["", ".", "ddrnet_23.", "ddrnet_23.x", "ddrnet_23.cityscapes.x"])
def test_is_no_model(name):
    assert not is_model(name)


def test_default_weights():
    assert get_weights("ddrnet_23_slim").tag == "cityscapes"
    assert get_weights("ddrnet_23").tag == "cityscapes"
    assert get_weights("ddrnet_39").tag == "cityscapes_sg"


def test_a_model_without_weights_says_so():
    register_model("mine", OWN)
    with pytest.raises(WeightsUnavailableError, match="no pretrained weights of 'mine'"):
        get_weights("mine")


def test_registers_own_sizes_once():
    register_model("mine", OWN)
    assert is_model("mine")
    assert list_models("m*") == ["mine"]
    assert registry.find_model(OWN) == "mine"
    with pytest.raises(ValueError, match="already registered"):
        register_model("mine", OWN)
    with pytest.raises(ValueError, match="already registered"):
        register_model("ddrnet_23", OWN)


@pytest.mark.parametrize("name", ["", "a.b", "a/b", "hf-hub:a", "two words"])
def test_rejects_names_that_would_be_ambiguous(name):
    with pytest.raises(ValueError, match="letters"):
        register_model(name, OWN)


def test_rejects_what_is_no_config():
    with pytest.raises(TypeError, match="DDRNetConfig"):
        register_model("mine", {"width": 8})


def test_listing_loads_no_heavy_packages():
    code = (
        "import sys, ddrnet; ddrnet.list_models(); ddrnet.list_models(pretrained=True);"
        "ddrnet.get_weights('ddrnet_23');"
        "print([m for m in ('torch', 'torchvision', 'timm', 'PIL', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
