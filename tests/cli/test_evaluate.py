import json
import subprocess
import sys

import golden_data
import numpy as np
import pytest
import torch
from data_files import save_png, write_cityscapes
from PIL import Image

import ddrnet
from ddrnet.cli import main
from ddrnet.cli.evaluate import scores_table
from ddrnet.data import Cityscapes, check_submission
from ddrnet.labels import class_labels
from ddrnet.metrics import SegmentationMetrics

NANO = "ddrnet_23_nano"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return golden_data.nano_checkpoint(tmp_path_factory.mktemp("weights") / "nano.pth")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_cityscapes(
        tmp_path_factory.mktemp("tree"), {"val": {"ulm": 3}, "test": {"bonn": 1}}, size=(64, 96)
    )


@pytest.fixture
def run(checkpoint, capsys):
    """Run `ddrnet evaluate`; return its exit code, output and error output."""

    def run(*arguments, weights=("--checkpoint", checkpoint)):
        command = ["evaluate", *arguments, *weights, "--workers", "0", "--device", "cpu"]
        return main([str(part) for part in command]), *capsys.readouterr()

    return run


def test_prints_a_line_per_class_and_the_mean(run, root, checkpoint):
    code, output, errors = run("--data-path", root)
    model = ddrnet.create_model(NANO, checkpoint_path=checkpoint)
    scores = ddrnet.evaluate(model, Cityscapes(root, "val"))
    lines = output.splitlines()
    assert (code, errors) == (0, "")
    assert lines[0].split() == ["class", "IoU", "pixels"]
    assert lines[1].split()[:2] == ["road", f"{scores.iou[0]:.2%}"]
    assert len(lines) == 1 + 19 + 1
    assert lines[-1].startswith(f"mean IoU {scores.mean_iou:.2%}, of categories ")
    assert lines[-1].endswith("; split val, 3 images")


def test_json_holds_the_same_numbers(run, root, checkpoint):
    _, output, _ = run("--data-path", root, "--json", "--scales", 0.75, 1, "--flip")
    model = ddrnet.create_model(NANO, checkpoint_path=checkpoint)
    scores = ddrnet.evaluate(model, Cityscapes(root, "val"), scales=[0.75, 1], flip=True)
    fields = json.loads(output)
    assert fields["mean_iou"] == scores.mean_iou
    assert fields["iou"]["sky"] == float(scores.iou[10])
    assert fields["confusion"] == scores.confusion.tolist()
    assert (fields["images"], fields["scales"], fields["flip"]) == (3, [0.75, 1.0], True)
    assert (fields["model"], fields["checkpoint"]) == (None, str(checkpoint))
    assert next(iter(fields["category_iou"])) == "flat"


def test_classes_that_do_not_occur_are_no_number(run, root, capsys):
    metrics = SegmentationMetrics(2)
    metrics.update(torch.zeros(1, 2, 2).long(), torch.zeros(1, 2, 2).long())
    table = scores_table(metrics.compute(), class_labels(["ground", "thing"]))
    assert [line.split() for line in table.splitlines()[1:]] == [
        ["ground", "100.00%", "100.00%"],
        ["thing", "-", "0.00%"],
    ]


def test_a_split_without_labels_can_be_submitted(run, root, tmp_path):
    files = "--save-labels", tmp_path / "labels", "--submission", tmp_path / "x.zip"
    code, output, _ = run("--data-path", root, "--split", "test", *files)
    assert (code, output) == (0, "split test, 1 images: no labels, nothing to score\n")
    check_submission(tmp_path / "x.zip", Cityscapes(root, "test"))
    with Image.open(tmp_path / "labels/bonn_000000_000019_pred_labelIds.png") as image:
        assert image.size == (96, 64)
    code, output, _ = run("--data-path", root, "--split", "test", "--json")
    assert json.loads(output)["mean_iou"] is None


def test_camvid_is_found_by_its_lists(run, tmp_path):
    for name, shape in {"val/a.png": (64, 96, 3), "valannot/a.png": (64, 96)}.items():
        save_png(tmp_path / name, np.zeros(shape))
    (tmp_path / "val.txt").write_text("val/a.png valannot/a.png")
    weights = "--checkpoint", golden_data.nano_checkpoint(tmp_path / "11.pth", num_classes=11)
    code, output, _ = run("--data-path", tmp_path, weights=weights)
    assert code == 0
    assert output.splitlines()[1].startswith("Sky ")
    assert "of categories" not in output


@pytest.mark.parametrize("split", [None, "holdout"])
def test_a_folder_has_the_classes_of_the_model(run, tmp_path, split):
    for folder, shape in {"images": (64, 96, 3), "labels": (64, 96)}.items():
        save_png(tmp_path / folder / (split or "") / "deep/a.png", np.full(shape, 18))
    out = tmp_path / "out"
    options = ["--split", split] if split else []
    code, output, _ = run("--data-path", tmp_path, *options, "--save-labels", out)
    assert code == 0
    assert output.splitlines()[19].split()[2] == "100.00%"
    assert output.endswith(f"; {f'split {split}' if split else 'all'}, 1 images\n")
    assert np.array(Image.open(out / "deep/a.png")).max() < 19


def own_data(root, classes, splits=("val",)):
    for split in splits:
        save_png(root / "images" / split / "a.png", np.zeros((64, 96, 3)))
        save_png(root / "labels" / split / "a.png", np.zeros((64, 96)))
    (root / "classes.txt").write_text("\n".join(classes))
    return root


def test_own_data_is_scored_on_val_alone_by_the_names_in_classes_txt(run, tmp_path):
    names = [row.name for row in ddrnet.CITYSCAPES.classes]
    forward = own_data(tmp_path / "a", names, splits=("train", "val"))
    backward = own_data(tmp_path / "b", names[::-1], splits=("train", "val"))
    save_png(backward / "labels/val/a.png", np.full((64, 96), 18))
    outputs = {}
    for root in (forward, backward):
        code, output, _ = run("--data-path", root, "--json")
        assert code == 0
        outputs[root] = json.loads(output)
        assert (outputs[root]["split"], outputs[root]["images"]) == ("val", 1)
    assert outputs[forward]["iou"] == outputs[backward]["iou"]
    assert outputs[forward]["mean_iou"] == outputs[backward]["mean_iou"]


def test_a_fraction_of_own_data_is_the_one_that_training_left_out(run, tmp_path):
    for index in range(10):
        save_png(tmp_path / f"images/{index}.png", np.zeros((64, 64, 3)))
        save_png(tmp_path / f"labels/{index}.png", np.zeros((64, 64)))
    code, output, _ = run("--data-path", tmp_path, "--val-fraction", 0.3, "--json")
    assert code == 0
    assert (json.loads(output)["split"], json.loads(output)["images"]) == ("val", 3)


def test_classes_of_other_names_are_compared_by_number_only_if_asked(run, tmp_path):
    root = own_data(tmp_path, [f"own {k}" for k in "abcdefghijklmnopqrs"])
    code, output, errors = run("--data-path", root)
    assert (code, output) == (1, "")
    assert "--by-index" in errors
    code, output, _ = run("--data-path", root, "--by-index")
    assert code == 0
    assert "own a" in output


def test_a_model_of_more_classes_than_the_data_is_refused(run, tmp_path):
    weights = "--checkpoint", golden_data.nano_checkpoint(tmp_path / "11.pth", num_classes=11)
    code, output, errors = run("--data-path", own_data(tmp_path, ["a", "b", "c"]), weights=weights)
    assert (code, output) == (1, "")
    assert "the model has 11 classes" in errors
    assert "the data set has 3 (a, b, c)" in errors


def test_nothing_to_evaluate_is_one_line(run, tmp_path, root):
    code, _, errors = run("--data-path", tmp_path)
    assert code == 1
    assert "no known layout" in errors
    _, _, errors = run("--data-path", tmp_path / "absent", weights=("--model", "ddrnet_23_slim"))
    assert "does not exist" in errors
    assert "fetching" not in errors
    assert "Cityscapes split 'train'" in run("--data-path", root, "--split", "train")[2]
    assert "split must be one of" in run("--data-path", root, "--split", "vla")[2]
    assert "camvid" in run("--data-path", root, "--dataset", "camvid")[2].lower()


def test_other_classes_than_the_models_are_one_line(run, root, tmp_path):
    weights = "--checkpoint", golden_data.nano_checkpoint(tmp_path / "11.pth", num_classes=11)
    code, output, errors = run("--data-path", root, weights=weights)
    assert (code, output) == (1, "")
    assert "the model has 11 classes" in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize("name", ["ddrnet_39.in1k", "ddrnet_23.in1k"])
def test_untrained_weights_are_never_evaluated(run, root, name):
    code, output, errors = run("--data-path", root, weights=("--model", name))
    assert (code, output) == (1, "")
    assert "--checkpoint FILE" in errors


@pytest.mark.slow
def test_several_processes_print_once_what_one_prints(run, root, checkpoint, tmp_path):
    arguments = ["--data-path", str(root), "--checkpoint", checkpoint, "--device", "cpu"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, "-m", "ddrnet", "evaluate", *arguments, "--submission", tmp_path / "x.zip"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == run("--data-path", root)[1]
    check_submission(tmp_path / "x.zip", Cityscapes(root, "val"))
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]
