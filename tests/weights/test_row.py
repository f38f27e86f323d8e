"""The weights table is complete, consistent and free of what must not be registered."""

import re
from urllib.parse import urlsplit

import pytest

from ddrnet.labels import CAMVID, CITYSCAPES
from ddrnet.variants import VARIANTS
from ddrnet.weights import DEFAULT_TAGS, ROWS, rows_of
from ddrnet.weights.row import HubFile, Metric, Preprocessing, WebFile

EXPECTED = {
    "ddrnet_23_nano": {"camvid", "synthetic"},
    "ddrnet_23_slim": {
        "cityscapes",
        "cityscapes_mmseg",
        "cityscapes_sg",
        "in1k",
        "in1k_timm",
        "in1k_mmseg",
    },
    "ddrnet_23": {"cityscapes", "cityscapes_mmseg", "cityscapes_sg", "in1k", "in1k_mmseg"},
    "ddrnet_39": {"cityscapes_sg", "in1k"},
}

every_row = pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])


@pytest.mark.parametrize("model", EXPECTED)
def test_models_have_their_tags(model):
    assert {row.tag for row in rows_of(model)} >= EXPECTED[model]


def test_names_are_unique():
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)


def test_default_tags_are_segmentation_rows():
    rows = {row.name: row for row in ROWS}
    for model, tag in DEFAULT_TAGS.items():
        assert rows[f"{model}.{tag}"].task == "segmentation"


@every_row
def test_row_says_what_it_must(row):
    assert row.model in VARIANTS
    assert row.sources
    assert row.origin.startswith("https://") or row.packaged
    for text in (row.license, row.license_note, row.data_terms, row.recipe, row.train_split):
        assert text.strip()
    assert row.license in {"MIT", "Apache-2.0"}
    assert row.unverified or all(source.sha256 for source in row.sources)


@every_row
def test_segmentation_rows_alone_have_classes(row):
    table = CAMVID if row.data == "CamVid" else CITYSCAPES
    assert row.classes == (table.classes if row.task == "segmentation" else ())
    assert row.tag.startswith("in1k") == (row.task != "segmentation")


@every_row
def test_metrics_are_fractions_with_conditions(row):
    for metric in row.metrics:
        assert 0.5 < metric.value < 1
        assert metric.data == row.data
        assert all(size >= 224 for size in metric.resolution)


@every_row
def test_sources_are_https_with_plausible_hashes(row):
    for source in [] if row.packaged else row.sources:
        assert isinstance(source, WebFile)
        assert all(urlsplit(link).scheme == "https" for link in source.links)
        assert source.sha256 is None or re.fullmatch(r"[0-9a-f]{8,64}", source.sha256)


def test_no_link_is_dead_or_superseded():
    links = " ".join(source.address for row in ROWS for source in row.sources)
    for wrong in ("sghub.deci.ai", "1pjdElEpzfpk4QSb96pVinV5SoraBDJlY", "deci-pretrained-models"):
        assert wrong not in links


def test_mmseg_links_carry_their_hash():
    for row in ROWS:
        if row.family == "mmseg":
            (source,) = row.sources
            assert source.links[0].endswith(f"-{source.sha256}.pth")


def test_a_metric_prints_as_published():
    metric = Metric("mIoU", 0.778, "Cityscapes", "val", (1024, 2048))
    assert metric.percent == "77.8"
    assert metric.conditions == "Cityscapes val, 1024 x 2048, single scale"
    both = Metric("mIoU", 0.8015, "Cityscapes", "val", (1024, 2048), scales="multi", flip=True)
    assert both.percent == "80.15"
    assert both.conditions.endswith("multi scale and flip")


def test_addresses_tell_sources_apart():
    assert WebFile(("https://a/x", "https://b/x")).address == "https://a/x"
    assert HubFile("owner/name", "abc").address == "hf-hub:owner/name@abc"


def test_extra_channels_take_the_average():
    rgb = Preprocessing((0.1, 0.2, 0.3), (0.2, 0.4, 0.6))
    assert rgb.for_channels(3) is rgb
    four = rgb.for_channels(4)
    assert four.mean == pytest.approx((0.1, 0.2, 0.3, 0.2))
    assert four.std == pytest.approx((0.2, 0.4, 0.6, 0.4))
    assert rgb.for_channels(1).mean == pytest.approx((0.2,))
