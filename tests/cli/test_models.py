import golden_data
import pytest
import torch

import ddrnet
from ddrnet import DDRNetConfig, registry
from ddrnet.cli.models import caveat_of, trained_model
from ddrnet.errors import CheckpointError, WeightsUnavailableError
from ddrnet.variants import VARIANTS

NANO = "ddrnet_23_nano"


@pytest.fixture
def checkpoint(tmp_path):
    """Save a state dict and return the file's path."""

    def save(state):
        torch.save(state, tmp_path / "model.pth")
        return str(tmp_path / "model.pth")

    return save


@pytest.mark.parametrize(
    ("model", "family"),
    [("ddrnet_23_slim", "official"), ("ddrnet_23_slim", "mmseg"), ("ddrnet_39", "supergradients")],
)
def test_the_size_is_that_of_the_checkpoint(model, family, checkpoint):
    path = checkpoint(golden_data.state_dict(golden_data.keys(family)[model]))
    assert trained_model(None, path).config == VARIANTS[model]


def test_a_name_with_a_tag_gives_the_classes_of_its_weights(checkpoint):
    path = checkpoint(ddrnet.create_model("ddrnet_23_slim").state_dict())
    model = trained_model("ddrnet_23_slim.cityscapes", path)
    assert model.classes == ddrnet.CITYSCAPES.classes


def test_a_size_without_a_name_is_built_from_its_tensors(checkpoint):
    config = DDRNetConfig(8, (1, 1), ((16, 1), (32, 1)), dappm_width=8, head_width=8)
    path = checkpoint(ddrnet.DDRNet(config, num_classes=5).state_dict())
    model = trained_model(None, path)
    assert (model.config, model.num_classes) == (config, 5)


def test_a_checkpoint_that_does_not_tell_its_size_is_refused(checkpoint):
    state = ddrnet.create_model(NANO).state_dict()
    path = checkpoint({key: value for key, value in state.items() if "head." not in key})
    with pytest.raises(CheckpointError, match="does not tell its size"):
        trained_model(None, path)
    with pytest.raises(CheckpointError, match=r"head\.conv1\.weight"):
        trained_model(NANO, path)


@pytest.mark.parametrize("name", ["ddrnet_23.in1k", "ddrnet_23_slim.in1k_mmseg"])
def test_weights_that_initialise_a_training_are_refused_unfetched(name, monkeypatch):
    monkeypatch.setattr("ddrnet.factory.fetch_state_dict", None)
    with pytest.raises(WeightsUnavailableError, match="heads are untrained; pass --model ddrnet"):
        trained_model(name, None)


def test_without_a_name_it_is_the_default_model(monkeypatch):
    seen = []

    def unavailable(row, cache_dir):
        seen.append(row.name)
        raise WeightsUnavailableError("no source answers")

    monkeypatch.setattr("ddrnet.factory.fetch_state_dict", unavailable)
    expected = r"no source answers .*--checkpoint FILE.*--model ddrnet_23_nano\.camvid"
    with pytest.raises(WeightsUnavailableError, match=expected):
        trained_model(None, None)
    assert seen == ["ddrnet_23_slim.cityscapes"]


def test_a_size_without_weights_is_refused(monkeypatch):
    monkeypatch.setitem(registry._CONFIGS, "mine", VARIANTS[NANO])
    with pytest.raises(WeightsUnavailableError, match="mine has no pretrained weights"):
        trained_model("mine", None)


def test_files_made_with_synthetic_weights_alone_say_so():
    synthetic = f"{NANO}.synthetic"
    assert "rendered streets" in caveat_of(synthetic, None)
    assert caveat_of(synthetic, "own.pth") == caveat_of(None, None) == caveat_of(NANO, None) == ""
    assert caveat_of("local-dir:somewhere", None) == ""
