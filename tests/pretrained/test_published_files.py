"""The real files, from where they were published: `pytest -m network`.

DDRNET_TEST_CACHE names a folder to keep them in, DDRNET_CITYSCAPES one with Cityscapes, on whose
validation images the published results are then repeated.
"""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ddrnet.checkpoints import fit_state_dict
from ddrnet.data import Cityscapes
from ddrnet.network import DDRNet
from ddrnet.pretrained.fetch import fetch_state_dict
from ddrnet.pretrained.inventory import find_cached
from ddrnet.variants import VARIANTS
from ddrnet.weights import ROWS

pytestmark = pytest.mark.network

SOURCES = [
    pytest.param(replace(row, sources=(source,)), id=f"{row.name}-{index}")
    for row in ROWS
    if not row.packaged
    for index, source in enumerate(row.sources)
]
SEGMENTATION = [row for row in ROWS if row.task == "segmentation" and not row.packaged]


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    named = os.environ.get("DDRNET_TEST_CACHE")
    return Path(named) if named else tmp_path_factory.mktemp("published")


def trained_model(row, cache):
    state = fetch_state_dict(row, cache)
    model = DDRNet(VARIANTS[row.model])
    model.load_state_dict(fit_state_dict(state, model.state_dict()).state)
    return model.eval()


@pytest.mark.parametrize("row", SOURCES)
def test_the_file_is_what_the_row_says(row, cache, request):
    place = cache / request.node.callspec.id
    model = trained_model(row, place)
    assert model.predict(torch.randn(1, 3, 64, 128)).shape == (1, 64, 128)
    (source,) = row.sources
    if source.sha256:
        assert find_cached(row, place).verification != "recorded locally, not verified"


@pytest.mark.parametrize("row", SEGMENTATION, ids=lambda row: row.name)
def test_the_published_result_is_reached(row, cache):
    root = os.environ.get("DDRNET_CITYSCAPES")
    if not root:
        pytest.skip("DDRNET_CITYSCAPES names no folder with Cityscapes")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = trained_model(row, cache / f"{row.name}-0").to(device)
    mean, std = (
        torch.tensor(values, device=device).view(3, 1, 1)
        for values in (row.preprocessing.mean, row.preprocessing.std)
    )
    confusion = torch.zeros(19 * 19, dtype=torch.int64)
    for image, label in Cityscapes(root, "val"):
        predicted = model.predict(((image.to(device) / 255 - mean) / std)[None])[0].cpu()
        counted = label != 255
        confusion += (label[counted].long() * 19 + predicted[counted]).bincount(minlength=19 * 19)
    confusion = confusion.view(19, 19)
    hits = confusion.diag()
    iou = hits / (confusion.sum(0) + confusion.sum(1) - hits)
    assert iou.mean().item() == pytest.approx(row.metrics[0].value, abs=0.002)
