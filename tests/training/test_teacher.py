"""Runs that learn from a trained network too."""

import logging
import math
import re

import pytest
import torch
from references import distillation_loss
from torch import nn
from training_runs import (
    FEW_CLASSES,
    Training,
    assert_same_losses,
    assert_same_run,
    log_of,
    losses_of,
    newest,
    resumed,
    run_here,
    same,
    save_teacher,
    started,
    write_labelled_folder,
)

import ddrnet
from ddrnet.training import loop
from ddrnet.training.teacher import matched_classes

pytestmark = pytest.mark.usefixtures("fresh_process")

STREETS = "ddrnet_23_nano.synthetic"
"""A teacher that ships, for rendered streets."""


@pytest.fixture
def three(tmp_path):
    """The words for data of three classes."""
    data = write_labelled_folder(tmp_path / "data", 8, 2)
    return ["--data", "folder", "--data-path", data, "--validate-every", 0, "--epochs", 2]


def first_batch(run):
    images, labels = next(run.batches.after(0))
    return images.to(memory_format=run.layout), labels


@pytest.mark.parametrize("aux_weight", [0.4, 0])
def test_the_loss_is_that_of_the_labels_and_the_weighted_divergence(tmp_path, aux_weight):
    words = ["--synthetic-images", 4, "--aux-weight", aux_weight]
    more = ["--teacher", STREETS, "--distill-weight", 0.5, "--temperature", 2]
    alone, _ = started(tmp_path / "alone", *words)
    taught, _ = started(tmp_path / "taught", *words, *more)
    assert same(dict(taught.network.state_dict()), dict(alone.network.state_dict()))
    images, _ = first_batch(taught)
    teacher = ddrnet.create_model(STREETS, True, upsample=False).eval()
    with torch.no_grad():
        output = taught.network.train()(taught.normalize(images))
        expected = teacher(ddrnet.data.Normalize.from_model(teacher)(images))
    taught, _ = started(tmp_path / "taught", *words, *more)
    supervised = loop.train_step(alone, alone.batches.after(0), 0)
    total = loop.train_step(taught, taught.batches.after(0), 0)
    logits = output.logits if aux_weight else output
    divergence = distillation_loss(logits, expected, 2)
    assert (total - supervised).item() == pytest.approx(0.5 * divergence.item(), rel=1e-3)


def test_the_teacher_stays_as_it_is_and_learns_nothing(tmp_path):
    run, _ = started(tmp_path, "--synthetic-images", 4, "--teacher", STREETS)
    before = {name: value.clone() for name, value in run.teacher.network.state_dict().items()}
    batches = run.batches.after(0)
    for step in range(2):
        loop.train_step(run, batches, step)
    assert same(before, dict(run.teacher.network.state_dict()))
    assert not any(parameter.requires_grad for parameter in run.teacher.network.parameters())
    norms = [each for each in run.teacher.network.modules() if isinstance(each, nn.BatchNorm2d)]
    assert not any(module.training for module in [run.teacher.network, *norms])


def test_a_student_of_a_teacher_comes_nearer_to_it(tmp_path):
    words = "--synthetic-images 16 --epochs 3 --lr 0.02 --validate-every 0 --scale 1 1 --flip 0"
    run, _ = started(tmp_path, *words.split(), "--teacher", STREETS, "--distill-weight", 20)
    images, _ = first_batch(run)
    expected = run.teacher.logits(images)

    def distance():
        with torch.no_grad():
            logits = run.network(run.normalize(images)).logits
        return distillation_loss(logits, expected, 1).item()

    first, batches = distance(), run.batches.after(0)
    for step in range(run.total_steps):
        loop.train_step(run, batches, step)
    assert distance() < first / 2


@pytest.mark.slow
@pytest.mark.parametrize("more", ["", "--precision bf16 --freeze-bn --init synthetic"])
def test_killed_and_resumed_equals_not_killed(tmp_path, more):
    words = "--synthetic-images 8 --epochs 3 --save-every 1 --log-every 3 --ema 0.9 --temperature 2"
    words = [*words.split(), *more.split(), "--teacher", STREETS]
    assert run_here(tmp_path / "whole", *words) == 0
    killed = Training(tmp_path / "killed", *words)
    killed.wait_for_step(5)
    killed.process.kill()
    killed.wait()
    assert newest(tmp_path / "killed")["step"] < 12
    assert run_here(tmp_path / "killed", *words, "--resume") == 0
    assert_same_run(tmp_path / "whole", tmp_path / "killed")
    assert_same_losses(tmp_path / "whole", tmp_path / "killed", rel=0)


def test_classes_in_another_order_are_matched_by_name(tmp_path, three, caplog):
    teacher = save_teacher(tmp_path / "teacher", ["three", "one", "two"])
    with caplog.at_level(logging.INFO):
        run, _ = started(tmp_path / "run", *three, "--teacher", tmp_path / "teacher")
    assert "orders the classes differently: they are matched by name" in caplog.text
    images, _ = first_batch(run)
    teacher.eval().upsample = False
    with torch.no_grad():
        expected = teacher(ddrnet.data.Normalize.from_model(teacher)(images))[:, [1, 2, 0]]
    torch.testing.assert_close(run.teacher.logits(images), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("names", [["class_0", "class_1"], ["no", "yes"]])
def test_classes_without_names_are_matched_by_number(names, caplog):
    caplog.set_level(logging.INFO)
    for own, theirs in (names, ["class_0", "class_1"]), (["class_0", "class_1"], names):
        teacher = ddrnet.create_model("ddrnet_23_nano", class_names=own)
        assert matched_classes("x", teacher, ddrnet.labels.class_labels(theirs)) is None
    assert ("matched by number" in caplog.text) == (names == ["no", "yes"])


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        (STREETS, "other classes: it alone has road, .*, bicycle; the data alone has one, two, th"),
        ("ddrnet_23_slim.in1k", "ddrnet_23_slim.in1k initialises a training"),
        ("nonsense", "unknown model 'nonsense'"),
        ("runs/nonsense", "which does not exist"),
    ],
)
def test_a_teacher_that_does_not_fit_is_one_message(tmp_path, three, capsys, teacher, message):
    assert run_here(tmp_path / "run", *three, "--teacher", teacher) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.search(message, last), last
    assert not (tmp_path / "run").exists()


def test_a_teacher_of_other_channels_is_refused(tmp_path, three, capsys):
    save_teacher(tmp_path / "teacher", FEW_CLASSES, in_chans=4)
    assert run_here(tmp_path / "run", *three, "--teacher", tmp_path / "teacher") == 1
    assert "takes images of 4 channels, the training images have 3" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--distill-weight", "--temperature"])
def test_its_options_need_a_teacher(tmp_path, capsys, option):
    assert run_here(tmp_path / "run", option, 2) == 1
    assert "--distill-weight and --temperature need a --teacher" in capsys.readouterr().err


def test_a_teacher_that_changed_is_noticed_at_resume(tmp_path, three, capsys):
    save_teacher(tmp_path / "teacher", FEW_CLASSES)
    words = [*three, "--teacher", tmp_path / "teacher"]
    assert run_here(tmp_path / "run", *words) == 0
    save_teacher(tmp_path / "teacher", FEW_CLASSES, seed=1)
    assert run_here(tmp_path / "run", *words, "--resume", "--epochs", 3) == 1
    assert (
        "teacher has changed since the run began: resume with the same" in capsys.readouterr().err
    )
    (tmp_path / "teacher").rename(tmp_path / "other")
    other = "--teacher", tmp_path / "other"
    assert run_here(tmp_path / "run", *words, "--resume", "--epochs", 3, *other) == 0


def test_a_run_goes_on_with_a_teacher_or_without(tmp_path):
    words = ["--synthetic-images", 4, "--validate-every", 0, "--epochs", 1]
    assert run_here(tmp_path, *words) == 0
    assert newest(tmp_path)["teacher"] is None
    taught, _ = resumed(tmp_path, "--epochs", 2, "--teacher", STREETS)
    assert taught.teacher.fingerprint
    alone, _ = resumed(tmp_path, "--epochs", 2, "--teacher", STREETS, "--distill-weight", 0)
    assert alone.teacher is None


def test_the_loss_of_guessing_counts_the_teacher(tmp_path):
    words = ["--synthetic-images", 4, "--epochs", 1, "--validate-every", 0, "--teacher", STREETS]
    assert run_here(tmp_path, *words, "--distill-weight", 2.5, "--temperature", 2) == 0
    ((_, first),) = losses_of(tmp_path)
    assert first > 1.4 * math.log(19)
    assert not [row for row in log_of(tmp_path) if "note" in row]
