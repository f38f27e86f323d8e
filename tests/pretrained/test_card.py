"""Model cards, read as the Hub reads them."""

import math

import yaml
from huggingface_hub import ModelCard

from ddrnet.labels import class_labels
from ddrnet.pretrained.card import model_card
from ddrnet.pretrained.saving import save_pretrained
from ddrnet.spec import PartialSpec
from ddrnet.variants import VARIANTS
from ddrnet.weights import ROWS
from ddrnet.weights.row import Metric


def test_card_says_what_the_hub_wants_to_know(tuned_model, tmp_path):
    metric = Metric("mIoU", 0.75, "Fields", "val", (256, 512), reported_by="me")
    model = tuned_model
    save_pretrained(model, tmp_path, metrics=[metric], license="MIT", datasets=["Fields"])
    _, header, body = (tmp_path / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    data = yaml.safe_load(header)
    assert data["library_name"] == "ddrnet"
    assert data["pipeline_tag"] == "image-segmentation"
    assert data["license"] == "mit"
    assert data["datasets"] == ["fields"]
    (index,) = data["model-index"]
    (result,) = index["results"]
    assert result["dataset"] == {"name": "Fields", "type": "fields", "split": "val"}
    assert result["metrics"][0]["type"] == "mean_iou"
    assert math.isclose(result["metrics"][0]["value"], 0.75)
    assert "| mIoU | 75.0 | Fields val, 256 x 512, single scale | me |" in body
    assert "| 1 | Straße | 90, 90, 90 |" in body
    assert "'local-dir:path/to/this/folder'" in body
    assert str(tmp_path) not in body


def test_card_claims_nothing_it_was_not_told(tuned_model, tmp_path):
    model = tuned_model
    save_pretrained(model, tmp_path / "own")
    text = (tmp_path / "own" / "README.md").read_text(encoding="utf-8")
    assert "license" not in text
    assert "model-index" not in text
    assert "Results" not in text
    model.pretrained = next(row for row in ROWS if row.name == "ddrnet_23.cityscapes_mmseg")
    save_pretrained(model, tmp_path / "tuned")
    text = (tmp_path / "tuned" / "README.md").read_text(encoding="utf-8")
    assert "license:" not in text  # nobody gave one for the tuned weights
    assert "whose code is under Apache-2.0" in text
    assert "Training started from `ddrnet_23.cityscapes_mmseg`" in text
    assert "79.99" not in text


def test_huggingface_hub_reads_the_card(tuned_model, tmp_path):
    metric = Metric("mIoU", 0.75, "Fields: all", "val", (256, 512), reported_by="me")
    save_pretrained(tuned_model, tmp_path, metrics=[metric], license="MIT", datasets=["A: b"])
    data = ModelCard.load(tmp_path / "README.md").data
    assert (data.library_name, data.license, data.datasets) == ("ddrnet", "mit", ["a: b"])
    (result,) = data.eval_results
    assert (result.dataset_name, result.metric_value) == ("Fields: all", 0.75)


def test_any_class_name_stays_in_its_cell():
    classes = class_labels(["road | path", "sky\nabove"])
    spec = PartialSpec(config=VARIANTS["ddrnet_23_nano"], classes=classes).complete()
    text = model_card(spec, "somewhere")
    assert "| 0 | road \\| path | " in text
    assert "| 1 | sky above | " in text
