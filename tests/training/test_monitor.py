"""The log, the progress line, TensorBoard and charts of a run."""

import io
import json
import sys

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import ddrnet
from ddrnet.training.monitor import Monitor

CLASSES = ddrnet.create_model("ddrnet_23_nano", class_names=["road", "sky"]).classes


def scores_of(predicted, target):
    metrics = ddrnet.metrics.SegmentationMetrics(2)
    metrics.update(torch.tensor(predicted), torch.tensor(target))
    return metrics.compute()


@pytest.fixture
def monitor(tmp_path):
    monitor = Monitor(tmp_path, 0, True, {"settings": {}})
    yield monitor
    monitor.close()


def rows(folder):
    text = (folder / "log.jsonl").read_text()
    return [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]


def test_one_line_says_everything(monitor, tmp_path, capsys):
    monitor.progress(20, 100, 0.4, 1.25, 0.01, images_per_step=8)
    shown = capsys.readouterr().err
    for part in (
        "step 20/100",
        "epoch 0.40",
        "loss 1.2500",
        "lr 1.00e-02",
        "images/s",
        "GiB",
        "ETA",
    ):
        assert part in shown
    _, row = rows(tmp_path)
    assert (row["step"], row["loss"], row["lr"]) == (20, 1.25, 0.01)
    assert row["images_per_second"] > 0
    assert row["memory_gib"] > 0


def test_scores_and_pictures_reach_tensorboard(monitor, tmp_path):
    monitor.progress(10, 100, 0.4, 1.25, 0.01, images_per_step=8)
    scores = scores_of([[0, 1, 1, 1]], [[0, 0, 1, 255]])
    monitor.scores(10, scores, CLASSES, 0.5)
    image = torch.zeros(3, 40, 60, dtype=torch.uint8)
    maps = torch.zeros(40, 60, dtype=torch.int64), torch.ones(40, 60, dtype=torch.uint8)
    monitor.overlay(10, 0, image, maps, CLASSES)
    monitor.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert set(events.Tags()["scalars"]) == {
        "train/loss", "train/lr", "train/images_per_second",
        "val/mean_iou", "val_iou/road", "val_iou/sky",
    }  # fmt: skip
    assert events.Scalars("val_iou/sky")[0].value == 0.5
    (picture,) = events.Images("val/0: predicted, true")
    assert (picture.width, picture.height) == (120, 40)
    assert rows(tmp_path)[-1]["iou"] == {"road": 0.5, "sky": 0.5}
    for name in ("curves", "classes", "confusion"):
        assert Image.open(tmp_path / f"{name}.png").format == "PNG"


def test_without_labels_the_log_is_still_json(monitor, tmp_path):
    monitor.scores(3, scores_of([[0]], [[255]]), CLASSES, float("-inf"))
    assert rows(tmp_path)[-1] == {"step": 3, "mean_iou": None, "best": None, "iou": {}}


def test_what_an_earlier_process_logged_after_its_checkpoint_is_removed(tmp_path):
    first = Monitor(tmp_path, 0, True, {"settings": {}})
    for step in (1, 2, 3):
        first.progress(step, 9, step / 9, 1.0, 0.1, 1)
    first.close()
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 4, "lo')
    second = Monitor(tmp_path, 2, True, {"settings": {}})
    second.progress(3, 9, 3 / 9, 0.5, 0.1, 1)
    second.close()
    assert [row.get("step") for row in rows(tmp_path)] == [None, 1, 2, None, 3]
    assert rows(tmp_path)[-1]["loss"] == 0.5


def test_other_processes_are_silent(tmp_path, capsys):
    other = Monitor(tmp_path, 0, False, {})
    other.progress(1, 9, 0.1, 1.0, 0.1, 1)
    other.scores(1, scores_of([[0]], [[0]]), CLASSES, 1.0)
    other.close()
    assert other.overlays == 0
    assert not list(tmp_path.iterdir())
    assert not capsys.readouterr().err


def test_on_a_terminal_the_line_is_rewritten_and_ended(tmp_path, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    monitor = Monitor(tmp_path, 0, True, {})
    for step in (1, 2):
        monitor.progress(step, 9, 0.1, 1.0, 0.1, 1)
    monitor.close()
    text = terminal.getvalue()
    assert text.count("\r\033[K") == 2
    assert text.count("\n") == 1
    assert text.endswith("\n")
