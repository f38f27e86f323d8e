"""The charts of a run: what they show follows from logs and scores."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import ddrnet
from ddrnet.training.charts import draw_classes, draw_confusion, draw_curves

RED, BLUE = (220, 20, 60), (0, 0, 142)
CLASSES = [ddrnet.ClassLabel("seen", RED, 0), ddrnet.ClassLabel("missed", BLUE, 1)]


def scores_of(predicted, target, classes=2):
    metrics = ddrnet.metrics.SegmentationMetrics(classes)
    metrics.update(torch.tensor(predicted), torch.tensor(target))
    return metrics.compute()


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def count(path, color):
    return (np.abs(pixels(path) - color).max(-1) <= 2).sum()


def write_log(path, losses, mean_iou=()):
    rows = [{"settings": {}}]
    rows += [
        {"step": k, "epoch": k / 2, "loss": loss, "lr": 0.1} for k, loss in enumerate(losses, 1)
    ]
    rows += [{"step": k, "mean_iou": score} for k, score in mean_iou]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_bars_are_as_long_as_the_scores(tmp_path):
    picture = tmp_path / "classes.png"
    draw_classes(picture, scores_of([[0, 0, 0, 0]], [[0, 0, 0, 1]]), CLASSES)
    full = tmp_path / "full.png"
    draw_classes(full, scores_of([[0, 0, 1, 1]], [[0, 0, 1, 1]]), CLASSES)
    assert count(picture, RED) == pytest.approx(0.75 * count(full, RED), rel=0.05)
    assert count(picture, BLUE) == 0 < count(full, BLUE)


def test_a_class_without_pixels_has_no_bar(tmp_path):
    draw_classes(tmp_path / "classes.png", scores_of([[0]], [[0]]), CLASSES)
    assert count(tmp_path / "classes.png", BLUE) == 0


@pytest.mark.parametrize("number", [2, 19, 40])
def test_confusion_is_dark_where_the_pixels_went(tmp_path, number):
    classes = ddrnet.create_model("ddrnet_23_nano", num_classes=number).classes
    everything = [list(range(number))]
    right, wrong = tmp_path / "right.png", tmp_path / "wrong.png"
    draw_confusion(right, scores_of(everything, everything, number), classes)
    draw_confusion(wrong, scores_of([[0] * number], everything, number), classes)
    first, second = pixels(right), pixels(wrong)
    assert first.shape == second.shape
    dark = (8, 48, 107)  # the darkest colour of the scale
    columns = [np.nonzero((np.abs(each - dark).max(-1) <= 2).any(0))[0] for each in (first, second)]
    left = columns[1][columns[1] < 0.8 * first.shape[1]]  # the scale itself is on the right
    spread = columns[0][columns[0] < 0.8 * first.shape[1]]
    assert np.ptp(left) < np.ptp(spread), "one column is dark, not the diagonal"


def test_curves_show_every_run(tmp_path):
    one = write_log(tmp_path / "one.jsonl", [3, 2, 1], [(2, 0.5), (3, None)])
    two = write_log(tmp_path / "two.jsonl", [1, None, 2])
    draw_curves(tmp_path / "curves.png", [one, two])
    assert count(tmp_path / "curves.png", (31, 119, 180)) > 100  # matplotlib's first two colours
    assert count(tmp_path / "curves.png", (255, 127, 14)) > 100


def test_a_log_without_a_step_is_drawn_too(tmp_path):
    draw_curves(tmp_path / "curves.png", [write_log(tmp_path / "log.jsonl", [])])
    assert Image.open(tmp_path / "curves.png").format == "PNG"
