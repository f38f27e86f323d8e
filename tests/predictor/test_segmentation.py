import sys

import numpy as np
import pytest
import torch
from PIL import Image

from ddrnet.labels import class_labels
from ddrnet.predictor.segmentation import Segmentation

CLASSES = class_labels(["road", "sky", "tree"])
LABELS = np.array([[0, 0, 1, 1], [0, 0, 0, 1]], np.uint8)


@pytest.fixture
def result():
    confidence = np.linspace(0.5, 1, 8, dtype=np.float32).reshape(2, 4)
    image = np.full((2, 4, 3), 100, np.uint8)
    return Segmentation(image, LABELS, CLASSES, confidence, source="a.png")


def test_masks_by_name_and_by_index(result):
    assert np.array_equal(result.mask("sky"), LABELS == 1)
    assert np.array_equal(result.mask(0), LABELS == 0)
    assert not result.mask("tree").any()
    for wrong in ("grass", 3, -1):
        with pytest.raises(ValueError, match="expected road, sky, tree"):
            result.mask(wrong)


def test_shares_of_the_present_classes(result):
    assert result.shares() == {"road": 5 / 8, "sky": 3 / 8}
    assert repr(result) == "Segmentation(a.png, 2 x 4: road 62.5%, sky 37.5%)"


def test_segments_have_the_shape_of_the_pipeline_of_transformers(result):
    road, sky = result.segments()
    assert (road["label"], sky["label"]) == ("road", "sky")
    assert road["mask"].mode == "L"
    assert np.array_equal(np.asarray(road["mask"]), (LABELS == 0) * 255)
    assert road["score"] == pytest.approx(result.confidence[LABELS == 0].mean())
    without = Segmentation(result.image, LABELS, CLASSES)
    assert without.segments()[0]["score"] is None


def test_a_saved_result_is_read_back_as_indices(result, tmp_path):
    result.save(tmp_path / "labels.png")
    picture = Image.open(tmp_path / "labels.png")
    assert picture.mode == "P"
    assert np.array_equal(np.asarray(picture), LABELS)
    assert picture.convert("RGB").getpixel((0, 0)) == CLASSES[0].color


def test_the_overlay_has_the_size_of_the_image(result):
    assert result.overlay().size == (4, 2)
    assert result.overlay(opacity=1).getpixel((3, 0)) == CLASSES[1].color
    grey = Segmentation(result.image[:, :, :1], LABELS, CLASSES)
    assert grey.overlay(opacity=0).getpixel((0, 0)) == (100, 100, 100)


def test_supervision_draws_the_detections(result):
    supervision = pytest.importorskip("supervision")
    detections = result.to_supervision()
    assert detections.class_id.tolist() == [0, 1]
    assert detections.data["class_name"].tolist() == ["road", "sky"]
    assert np.array_equal(detections.mask, [LABELS == 0, LABELS == 1])
    assert detections.xyxy.tolist() == [[0, 0, 2, 1], [2, 0, 3, 1]]
    assert detections.confidence == pytest.approx(
        [result.confidence[index == LABELS].mean() for index in (0, 1)]
    )
    scene = np.ascontiguousarray(result.image[:, :, ::-1])
    drawn = supervision.MaskAnnotator().annotate(scene.copy(), detections)
    assert drawn.shape == (2, 4, 3)
    assert not np.array_equal(drawn, scene)
    without = Segmentation(result.image, LABELS, CLASSES).to_supervision()
    assert without.confidence is None


@pytest.mark.parametrize(
    "annotator",
    ["MaskAnnotator", "PolygonAnnotator", "HaloAnnotator", "BoxAnnotator", "LabelAnnotator"],
)
def test_the_annotators_of_supervision_draw_inside_the_image(annotator):
    supervision = pytest.importorskip("supervision")
    labels = np.zeros((60, 80), np.uint8)
    labels[20:50, 30:70] = 1
    image = np.full((60, 80, 3), 90, np.uint8)
    detections = Segmentation(image, labels, CLASSES).to_supervision()
    sky = detections[detections.class_id == 1]
    drawn = getattr(supervision, annotator)().annotate(image.copy(), sky)
    assert (drawn.shape, drawn.dtype) == (image.shape, np.uint8)
    assert not np.array_equal(drawn, image)
    assert sky.area.tolist() == [30 * 40]


def test_labels_fit_torchmetrics():
    classification = pytest.importorskip("torchmetrics.classification")
    target = torch.tensor([[0, 0, 1, 1], [1, 255, 0, 1]])
    metric = classification.MulticlassJaccardIndex(num_classes=2, ignore_index=255)
    found = metric(torch.from_numpy(LABELS), target)
    counted = target != 255
    predicted, true = torch.from_numpy(LABELS)[counted], target[counted]
    shares = [
        ((predicted == k) & (true == k)).sum() / ((predicted == k) | (true == k)).sum()
        for k in (0, 1)
    ]
    assert found == pytest.approx(float(sum(shares) / 2))


def test_without_supervision_the_extra_is_named(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ImportError, match=r'pip install "ddrnet\[supervision\]"'):
        result.to_supervision()


def test_an_overlay_of_some_classes(result):
    assert np.array_equal(
        (np.asarray(result.overlay(only=["sky"])) != result.image).any(2), LABELS == 1
    )
    assert np.array_equal(np.asarray(result.overlay(only=[])), result.image)
    with pytest.raises(ValueError, match="there is no class 'grass'"):
        result.overlay(only=["grass"])
