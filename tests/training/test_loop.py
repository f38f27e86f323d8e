"""The training loop in one process: files, exact resume, no waiting."""

import io
import math
import shlex
import signal

import accelerate
import numpy as np
import pytest
import torch
from data_files import save_png
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_runs import (
    TINY,
    Training,
    assert_close_weights,
    assert_same_losses,
    assert_same_run,
    log_of,
    losses_of,
    newest,
    resumed,
    run_here,
    same,
    started,
    typed,
    write_labelled_folder,
    write_own_data,
)

import ddrnet
from ddrnet import cli, training
from ddrnet.training import loop

pytestmark = pytest.mark.usefixtures("fresh_process")


def test_an_epoch_makes_the_loss_fall_and_leaves_files(tmp_path):
    words = "--synthetic-images 16 --epochs 1 --lr 0.05 --log-every 2 --loss ce --scale 1 1"
    assert run_here(tmp_path, *words.split()) == 0
    losses = [loss for _, loss in losses_of(tmp_path)]
    assert losses[-1] < losses[0]
    assert list((tmp_path / "tensorboard").iterdir())
    for name in ("best", "last"):
        model = ddrnet.create_model(f"local-dir:{tmp_path / name}", pretrained=True)
        assert model.upsample
        assert model.aux_head is None
    scores = next(row for row in log_of(tmp_path) if "mean_iou" in row)
    assert 0 <= scores["mean_iou"] <= 1
    assert run_here(tmp_path) == 1, "a new run must not mix with an old one"


@pytest.mark.parametrize(("validate_every", "name"), [(1, "best"), (0, "last")])
def test_the_last_line_predicts_with_the_result(tmp_path, capsys, validate_every, name):
    folder = tmp_path / "a run"
    words = ["--synthetic-images", 4, "--epochs", 1, "--validate-every", validate_every]
    assert run_here(folder, *words) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"predict with: ddrnet predict photos --model 'local-dir:{folder / name}'"
    save_png(tmp_path / "photos" / "1.png", np.full((48, 64, 3), 99))
    command = shlex.split(last.partition("ddrnet ")[2].replace("photos", str(tmp_path / "photos")))
    assert cli.main([*command, "--out", str(tmp_path / "out")]) == 0
    assert (folder / "curves.png").exists()
    assert (folder / "confusion.png").exists() == (validate_every > 0)


def test_the_large_first_losses_of_a_new_head_are_explained(tmp_path, capsys):
    words = ["--synthetic-images", 8, "--validate-every", 0, "--log-every", 2, "--lr", "1e-4"]
    assert run_here(tmp_path, *words, "--epochs", 1) == 0
    shown = capsys.readouterr().err
    (line,) = [row for row in log_of(tmp_path) if "note" in row]
    (_, first), *_ = losses_of(tmp_path)
    assert line["step"] == 2
    assert "a loss above 4.1, that of guessing among 19 classes" in line["note"]
    assert first > 1.4 * math.log(19)
    assert shown.count(line["note"]) == 1
    assert run_here(tmp_path, *words, "--epochs", 2, "--resume") == 0
    assert "guessing" not in capsys.readouterr().err, "only where a run begins"


def test_own_data_is_recognised_and_divided(tmp_path, capsys):
    data = write_own_data(tmp_path / "lakes", images=8)
    words = ["--data", "auto", "--data-path", data, "--epochs", 1]
    assert run_here(tmp_path / "run", *words) == 1
    assert "lakes has no split 'train'. A split is a folder" in capsys.readouterr().err
    assert run_here(tmp_path / "run", *words, "--val-fraction", 0.25) == 0
    shown = capsys.readouterr().err
    assert "split='train', images=6, classes=2), processes: 1 (cpu)" in shown
    assert "split='val', images=2, classes=2)" in shown
    assert newest(tmp_path / "run")["step"] == 3
    model = ddrnet.create_model(f"local-dir:{tmp_path}/run/best", pretrained=True)
    assert [row.name for row in model.classes] == ["water", "land"]
    held_out = ddrnet.data.open_dataset(data, split="val", val_fraction=0.25)
    scores = ddrnet.evaluate(model, held_out)
    assert log_of(tmp_path / "run")[-1]["mean_iou"] == pytest.approx(scores.mean_iou, abs=1e-3)


def test_from_python(tmp_path):
    settings = typed([*TINY, "--output", tmp_path, "--synthetic-images", 4, "--epochs", 1])
    assert training.train(settings) == tmp_path
    assert training.resume(tmp_path, epochs=2) == tmp_path
    assert newest(tmp_path)["step"] == 4


def test_the_score_is_that_of_evaluate_on_the_exported_weights(tmp_path):
    words = "--synthetic-images 16 --epochs 1 --synthetic-size 65x90 --ema 0.5"
    assert run_here(tmp_path, *words.split()) == 0
    model = ddrnet.create_model(f"local-dir:{tmp_path / 'last'}", pretrained=True)
    streets = ddrnet.data.SyntheticStreets(4, (65, 90), seed=1)
    scores = ddrnet.evaluate(model, streets)
    assert log_of(tmp_path)[-1]["mean_iou"] == pytest.approx(scores.mean_iou, abs=1e-3)


@pytest.mark.slow
def test_three_fixed_images_are_shown_at_each_validation(tmp_path):
    words = "--synthetic-images 20 --synthetic-size 64x96 --epochs 2 --batch-size 10"
    assert run_here(tmp_path, *words.split(), "--validate-every", 1) == 0
    board = EventAccumulator(str(tmp_path / "tensorboard"), {"images": 0}).Reload()
    assert sorted(board.Tags()["images"]) == [f"val/{index}: predicted, true" for index in range(3)]
    for name in board.Tags()["images"]:
        shown = board.Images(name)
        assert [picture.step for picture in shown] == [2, 4]
        assert all((picture.height, picture.width) == (64, 2 * 96) for picture in shown)
        first, second = (Image.open(io.BytesIO(p.encoded_image_string)) for p in shown)
        true = 96, 0, 2 * 96, 64  # the right half: image and labels, the same each time
        assert first.crop(true).tobytes() == second.crop(true).tobytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        "--workers 0",
        "--workers 2",
        "--optimizer muon --no-decay-norm-and-bias",
    ],
)
def test_killed_and_resumed_equals_not_killed(tmp_path, more):
    words = "--synthetic-images 8 --epochs 3 --save-every 1 --log-every 3 --ema 0.9"
    words = [*words.split(), *more.split()]
    assert run_here(tmp_path / "whole", *words) == 0
    killed = Training(tmp_path / "killed", *words)
    killed.wait_for_step(5)
    killed.process.kill()
    killed.wait()
    assert newest(tmp_path / "killed")["step"] < 12
    assert run_here(tmp_path / "killed", *words, "--resume") == 0
    assert_same_run(tmp_path / "whole", tmp_path / "killed")
    assert_same_losses(tmp_path / "whole", tmp_path / "killed", rel=0)


def test_what_is_given_beside_resume_reaches_the_optimizer(tmp_path):
    words = ["--synthetic-images", 4, "--epochs", 1, "--validate-every", 0]
    assert run_here(tmp_path, *words) == 0
    given = ["--weight-decay", "0.125", "--momentum", "0.5", "--epochs", 2, "--lr", "0.25"]
    run, progress = resumed(tmp_path, *given)
    loop.train_step(run, run.batches.after(progress.step), progress.step)
    for group in run.optimizer.param_groups:
        assert (group["weight_decay"], group["momentum"]) == (0.125, 0.5)
        assert group["lr"] == pytest.approx(0.25 * 0.5**0.9)


@pytest.mark.parametrize("given", ["--optimizer adamw", "--no-decay-norm-and-bias"])
def test_the_state_of_another_optimizer_is_refused(tmp_path, capsys, given):
    words = ["--synthetic-images", 4, "--epochs", 1, "--validate-every", 0]
    assert run_here(tmp_path, *words) == 0
    assert run_here(tmp_path, *words, "--resume", *given.split()) == 1
    assert "resume with the same, or start a new run" in capsys.readouterr().err


def test_a_finished_run_says_so_and_stays_as_it_is(tmp_path, capsys):
    words = ["--synthetic-images", 4, "--epochs", 2, "--validate-every", 0]
    assert run_here(tmp_path, *words) == 0
    log, weights = log_of(tmp_path), (tmp_path / "last").stat().st_mtime_ns
    assert run_here(tmp_path, *words, "--resume") == 0
    assert "all 4 steps are done; a higher --epochs continues" in capsys.readouterr().err
    assert (log_of(tmp_path), (tmp_path / "last").stat().st_mtime_ns) == (log, weights)
    assert run_here(tmp_path, *words, "--resume", "--epochs", 1) == 1
    assert "--epochs 1: 2 epochs are done already; pass a higher number" in capsys.readouterr().err
    assert (log_of(tmp_path), (tmp_path / "last").stat().st_mtime_ns) == (log, weights)


def test_a_start_that_is_refused_leaves_nothing(tmp_path):
    assert run_here(tmp_path / "run", "--init", "nonsense") == 1
    assert not (tmp_path / "run").exists()


def test_an_average_begun_at_resume_begins_with_the_weights_so_far(tmp_path):
    words = ["--synthetic-images", 4, "--epochs", 1, "--validate-every", 0]
    assert run_here(tmp_path, *words) == 0
    run, _ = resumed(tmp_path, "--ema", "0.9")
    assert same(dict(run.evaluated.state_dict()), dict(run.network.state_dict()))


def interrupted_after(step, monkeypatch):
    """Make Ctrl-C reach the process in step number `step`."""
    original = loop.train_step

    def interrupting(run, batches, number):
        if number == step:
            signal.raise_signal(signal.SIGINT)
        return original(run, batches, number)

    monkeypatch.setattr(loop, "train_step", interrupting)


def test_an_interrupted_run_saves_and_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    words = ["--synthetic-images", 4, "--epochs", 2, "--validate-every", 0]
    with monkeypatch.context() as patch:
        interrupted_after(0, patch)
        assert run_here(tmp_path / "a run", *words) == 130
    assert f"--resume '{tmp_path / 'a run'}'" in capsys.readouterr().err
    assert newest(tmp_path / "a run")["step"] == 1
    settings = newest(tmp_path / "a run")["settings"]
    assert cli.main(["train", "--resume", str(tmp_path / "a run")]) == 0
    assert newest(tmp_path / "a run")["step"] == 4
    assert newest(tmp_path / "a run")["settings"] == settings, "the checkpoint knows them"


@pytest.mark.slow
def test_bfloat16_resumes_exactly(tmp_path, monkeypatch):
    words = [
        "--synthetic-images",
        "6",
        "--epochs",
        "2",
        "--precision",
        "bf16",
        "--validate-every",
        "0",
    ]
    assert run_here(tmp_path / "whole", *words) == 0
    with monkeypatch.context() as patch:
        interrupted_after(2, patch)
        assert run_here(tmp_path / "parts", *words) == 130
    assert run_here(tmp_path / "parts", *words, "--resume") == 0
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_the_scale_of_half_precision_is_saved_and_restored(tmp_path):
    def scaled(folder):
        run, progress = started(folder, "--synthetic-images", 8)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, growth_interval=2)
        run.accelerator.scaler = scaler
        run.optimizer = accelerate.optimizer.AcceleratedOptimizer(
            run.optimizer.optimizer, scaler=scaler
        )
        return run, progress

    run, progress = scaled(tmp_path)
    before = [parameter.clone() for parameter in run.network.parameters()]
    batches = run.batches.after(0)
    loop.train_step(run, batches, 0)
    assert run.accelerator.scaler.get_scale() == 2.0**126, "the gradients overflowed"
    assert all(map(torch.equal, before, run.network.parameters()))
    for progress.step in (1, 2, 3, 4):
        loop.train_step(run, batches, progress.step)
    loop.save(run, progress)
    saved = newest(tmp_path)
    assert saved["scaler"]["scale"] == run.accelerator.scaler.get_scale() < 2.0**127

    other, _ = scaled(tmp_path / "other")
    assert loop.restore(other, saved).step == 4
    assert other.accelerator.scaler.state_dict() == run.accelerator.scaler.state_dict()
    for each in (run, other):
        loop.train_step(each, each.batches.after(4), 4)
    assert same(dict(other.network.state_dict()), dict(run.network.state_dict()))
    assert other.accelerator.scaler.state_dict() == run.accelerator.scaler.state_dict()


def test_accumulation_equals_a_larger_batch(tmp_path):
    data = write_labelled_folder(tmp_path / "data")
    words = (
        f"--data folder --data-path {data} --recipe paper --loss ce --freeze-bn --scale 1 1 "
        "--epochs 2 --lr 1e-3 --validate-every 0 --log-every 1 --class-weights none"
    ).split()
    assert run_here(tmp_path / "once", *words, "--batch-size", 4) == 0
    assert run_here(tmp_path / "twice", *words, "--batch-size", 2, "--accumulation", 2) == 0
    assert newest(tmp_path / "once")["step"] == newest(tmp_path / "twice")["step"] == 6
    assert_close_weights(tmp_path / "once", tmp_path / "twice", 1e-5)
    assert_same_losses(tmp_path / "once", tmp_path / "twice", rel=1e-5)


@pytest.mark.parametrize("log_every", [1, 100])
def test_a_loss_that_is_no_number_ends_the_run_before_it_is_saved(tmp_path, capsys, log_every):
    words = ["--synthetic-images", 8, "--epochs", 2, "--save-every", 1, "--log-every", log_every]
    assert run_here(tmp_path, *words, "--lr", "1e30") == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "at step 2: resume from the last checkpoint with a lower --lr" in error
    assert newest(tmp_path)["step"] == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "cityscapes"], "--data-path"),
        (["--synthetic-images", "1"], "fewer than the 2 of one step"),
        (["--resume"], "no checkpoint"),
        (["--init", "nonsense"], "nonsense"),
        (["--data", "camvid", "--data-path", "nowhere"], "nowhere"),
        (["--data", "folder", "--data-path", "nowhere"], "nowhere has no split 'train'"),
        (["--optimizer", "magic"], "magic"),
        (["--warmup-epochs", "5", "--epochs", "5"], "must be less than --epochs 5"),
        (["--scale", "2", "1"], "its lower end first"),
    ],
)
def test_a_wrong_argument_is_one_message(tmp_path, capsys, words, message):
    assert run_here(tmp_path / "run", *words) == 1
    assert message in capsys.readouterr().err


def test_a_checkpoint_of_another_network_or_length_is_refused(tmp_path, capsys):
    words = ["--synthetic-images", 4, "--epochs", 1, "--validate-every", 0]
    assert run_here(tmp_path, *words) == 0
    assert run_here(tmp_path, *words, "--resume", "--aux-weight", 0) == 1
    assert (
        "does not fit ddrnet_23_nano of 19 classes: resume with the same model"
        in capsys.readouterr().err
    )
    assert run_here(tmp_path, *words, "--resume", "--batch-size", 4) == 1
    assert "has 2 steps per epoch, this run has 1" in capsys.readouterr().err


def test_a_wrong_mask_is_one_message_without_a_traceback(tmp_path, capsys):
    data = write_own_data(tmp_path / "data", images=6)
    for mask in (data / "labels").iterdir():
        save_png(mask, np.full((64, 64), 7))
    words = ["--data-path", data, "--data", "folder", "--val-fraction", 0.2, "--workers", 1]
    assert run_here(tmp_path / "run", *words) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"ddrnet: error: {data}/labels/")
    assert "7" in error
    assert "Traceback" not in error


def test_a_missing_validation_set_is_noticed_before_training(tmp_path, capsys):
    data = write_labelled_folder(tmp_path / "data", val_images=0)
    words = ["--data", "folder", "--data-path", data, "--epochs", 1]
    assert run_here(tmp_path / "run", *words) == 1
    assert f"{data} has no split 'val', only train" in capsys.readouterr().err
    assert run_here(tmp_path / "run", *words, "--validate-every", 0) == 0


def test_a_line_of_the_log_holds_the_mean_of_the_losses_since_the_line_before(tmp_path):
    words = ["--synthetic-images", 12, "--epochs", 1, "--validate-every", 0]
    assert run_here(tmp_path / "each", *words, "--log-every", 1) == 0
    assert run_here(tmp_path / "some", *words, "--log-every", 4) == 0
    losses = [loss for _, loss in losses_of(tmp_path / "each")]
    expected = [(4, sum(losses[:4]) / 4), (6, sum(losses[4:]) / 2)]
    for (step, loss), (wanted_step, wanted) in zip(
        losses_of(tmp_path / "some"), expected, strict=True
    ):
        assert step == wanted_step
        assert loss == pytest.approx(wanted, rel=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="only an accelerator can be waited for")
@pytest.mark.parametrize("loss", ["ohem", "ce"])
def test_steps_wait_for_nothing(tmp_path, loss, no_waiting):
    words = ["--synthetic-images", 10, "--ema", "0.9", "--loss", loss, "--no-cpu"]
    run, _ = started(tmp_path, *words)
    batches = run.batches.after(0)
    loop.train_step(run, batches, 0)  # the first step allocates and picks algorithms
    with no_waiting():
        for step in range(1, 4):
            loop.train_step(run, batches, step)
