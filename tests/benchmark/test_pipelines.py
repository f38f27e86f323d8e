"""The compared pipelines: what each step returns, and that they agree."""

import numpy as np
import pytest
import references
import torch
from PIL import Image
from torch import nn

import ddrnet
from ddrnet.benchmark.pipelines import BACKENDS, PlainPipeline, Way

CPU = torch.device("cpu")
SIZE = (72, 104)


@pytest.fixture(scope="module")
def model():
    return ddrnet.create_model("ddrnet_23_nano.synthetic", True)


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    path = tmp_path_factory.mktemp("street") / "street.png"
    pixels = ddrnet.data.SyntheticStreets(1, SIZE)[0][0]
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path)
    return path


def expected_logits(model, street):
    """Full-resolution logits, by the references of the tests."""
    pixels = references.plain_normalisation(np.asarray(Image.open(street)))
    with torch.no_grad():
        images = torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None]
        return model.without_aux_head().eval()(images)


def all_ways():
    return [Way(), *(Way(backend) for backend in BACKENDS)]


@pytest.mark.parametrize("way", all_ways(), ids=str)
def test_every_pipeline_writes_the_argmax_of_the_full_resolution_logits(
    way, model, street, tmp_path
):
    way.pipeline(model, CPU).segment(street, tmp_path / "labels.png")
    written = np.asarray(Image.open(tmp_path / "labels.png"))
    assert written.shape == SIZE
    best = expected_logits(model, street)[0].topk(2, dim=0)  # values and indices (2, H, W)
    clear = (best.values[0] - best.values[1] > 1e-4).numpy()
    assert clear.mean() > 0.99
    assert np.array_equal(written[clear], best.indices[0].numpy()[clear])


@pytest.mark.parametrize("way", all_ways(), ids=str)
def test_the_steps_lead_to_the_same_labels(way, model, street, tmp_path):
    pipeline = way.pipeline(model, CPU)
    logits = pipeline.logits(pipeline.prepared(street))
    assert logits.shape == (1, 19, 9, 13)
    pipeline.segment(street, tmp_path / "labels.png")
    labels = pipeline.labels(logits, SIZE)[0].numpy()
    assert np.array_equal(labels, np.asarray(Image.open(tmp_path / "labels.png")))


def test_a_pipeline_leaves_the_model_as_it_is(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    for way in all_ways():
        way.pipeline(model, CPU)
    assert model.training
    assert model.upsample
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_batch_norm_is_plain_in_one_and_folded_in_the_other(model):
    plain, ours = (way.pipeline(model, CPU) for way in (Way(), Way("torch")))
    assert plain.batch_norms == sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    assert 0 < ours.batch_norms < plain.batch_norms / 3


def test_the_plain_pipeline_refuses_models_that_read_no_rgb():
    with pytest.raises(ValueError, match="has 1 channels"):
        PlainPipeline(ddrnet.create_model("ddrnet_23_nano", in_chans=1), CPU)


def test_ways_have_short_names():
    assert str(Way()) == "plain"
    assert str(Way("torch", "bfloat16", True)) == "torch bfloat16 compiled"
