"""The checkpoints of a run."""

import math
from dataclasses import asdict
from pathlib import Path

import pytest

import ddrnet
from ddrnet import training
from ddrnet.files import PARTIAL
from ddrnet.training import run_checkpoints
from ddrnet.training.settings import Settings


def test_a_damaged_checkpoint_is_reported_and_the_previous_one_taken(tmp_path, caplog):
    old = run_checkpoints.write(tmp_path, 1, {"step": 1})
    new = run_checkpoints.write(tmp_path, 2, {"step": 2})
    data = bytearray(new.read_bytes())
    data[len(data) // 2] ^= 1
    new.write_bytes(data)
    assert run_checkpoints.read(tmp_path) == (old, {"step": 1})
    assert new.name in caplog.text
    assert new.with_name(f"{new.name}.damaged").read_bytes() == data, "set aside, not deleted"
    run_checkpoints.write(tmp_path, 3, {"step": 3})
    assert old.exists(), "the damaged one does not count as one of the two newest"
    run_checkpoints.write(tmp_path, 3, {"step": 3})
    for path in tmp_path.glob("*.pt"):
        path.write_bytes(b"")
    with pytest.raises(ddrnet.CheckpointError, match="every checkpoint"):
        run_checkpoints.read(tmp_path)


def test_two_checkpoints_are_kept_and_nothing_half_written(tmp_path):
    for step in (1, 2, 3):
        run_checkpoints.write(tmp_path, step, {"step": step})
    assert [path.name[:20] for path in sorted(tmp_path.iterdir())] == [
        "checkpoint_000000002",
        "checkpoint_000000003",
    ]
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        run_checkpoints.read(tmp_path / "elsewhere")


def test_one_run_at_a_time_writes_into_a_folder(tmp_path):
    with (
        run_checkpoints.lock(tmp_path / "run"),
        pytest.raises(OSError, match=f"another process trains into {tmp_path / 'run'}"),
    ):
        run_checkpoints.lock(tmp_path / "run")
    with run_checkpoints.lock(tmp_path / "run"):
        pass


def test_a_run_that_goes_on_from_an_earlier_step_leaves_the_later_ones_behind(tmp_path):
    earlier, later = (run_checkpoints.write(tmp_path, step, {"step": step}) for step in (4, 8))
    assert run_checkpoints.read(earlier)[0] == earlier
    new = run_checkpoints.write(tmp_path, 5, {"step": 5})
    assert not later.exists()
    assert run_checkpoints.read(tmp_path)[0] == new


def test_what_a_killed_process_left_half_written_does_not_stay(tmp_path):
    half = tmp_path / f".checkpoint_000000001-0123456789abcdef.pt.4711{PARTIAL}"
    half.write_bytes(b"half")
    path = run_checkpoints.write(tmp_path, 2, {"step": 2})
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["checkpoint_renamed.pt", "log.jsonl"])
def test_no_other_checkpoint_is_taken_for_a_file_that_is_none(tmp_path, name):
    run_checkpoints.write(tmp_path, 1, {"step": 1})
    (tmp_path / name).write_bytes(b"something")
    with pytest.raises(FileNotFoundError, match=f"{name}; expected the folder of a run"):
        run_checkpoints.read(tmp_path / name)


def test_no_run_goes_on_in_the_folder_of_another(tmp_path, caplog):
    own, others, new = (str(tmp_path / name) for name in ("own", "others", "new"))
    for folder in (own, others):
        settings = asdict(Settings(output=folder))
        run_checkpoints.write(tmp_path / folder, 1, {"settings": settings, "best": 0.5})
    with pytest.raises(FileExistsError, match="others holds another run"):
        training.train(Settings(output=others))
    with pytest.raises(FileExistsError, match="others holds another run"):
        run_checkpoints.load(Path(own), {"output": others})
    settings, saved = run_checkpoints.load(Path(own), {"output": new})
    assert (settings.folder, saved["settings"]["output"]) == (new, own)
    assert saved["best"] == -math.inf, "the best weights so far are not in the new folder"
    caplog.clear()
    caplog.set_level("INFO")
    settings, saved = run_checkpoints.load(Path(own), {"output": own})
    assert (settings.folder, saved["best"]) == (own, 0.5)
    assert caplog.text.rstrip().endswith("changed settings: none")


def test_resuming_tells_which_settings_changed(tmp_path, caplog):
    settings = asdict(Settings(output=None, epochs=3))
    run_checkpoints.write(tmp_path, 1, {"settings": settings, "best": 0.5})
    caplog.set_level("INFO")
    run_checkpoints.load(tmp_path, {"epochs": 3})
    assert caplog.text.rstrip().endswith("changed settings: none"), "the folder is where it was"
    run_checkpoints.load(tmp_path, {"epochs": 5, "lr": 0.5})
    assert caplog.text.rstrip().endswith("changed settings: epochs, lr")


def test_no_run_overwrites_the_weights_of_one_whose_checkpoints_were_deleted(tmp_path):
    (tmp_path / "best").mkdir()
    with pytest.raises(FileExistsError, match="holds another run"):
        training.train(Settings(output=str(tmp_path)))
