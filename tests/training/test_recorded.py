"""The runs that trained the shipped weights begin again with the recorded losses.

Training amplifies rounding, which differs between processors and releases of torch. Both runs begin
with a low learning rate, so that fifty steps show little of it.
"""

import json
import os
from pathlib import Path

import pytest

from ddrnet.data import SyntheticStreets
from ddrnet.data.street_tree import VAL_EVERY
from ddrnet.training import Settings, building, loop

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fresh_process")]

LOGS = Path(__file__).parents[2] / "docs" / "training"
STEPS = 50


class TrainSplit(SyntheticStreets):
    """The split `train` of `ddrnet data synthesize`, rendered when read: most is never read."""

    def __init__(self, streets, size, **options):
        super().__init__(streets, size, **options)
        self.length = streets - streets // VAL_EVERY

    def read(self, index):
        return super().read(index + index // (VAL_EVERY - 1))


def assert_begins_as_recorded(name, folder, data_path=None):
    header, *rows = [json.loads(line) for line in (LOGS / name).read_text().splitlines()]
    here = {"data_path": data_path, "output": str(folder), "cache_dir": None, "cpu": True}
    settings = Settings(**header["settings"] | here | {"workers": 2, "validate_every": 0})
    run, _ = loop.start(settings)
    batches, losses = run.batches.after(0), []
    logged = {row["step"]: row for row in rows if "loss" in row}
    assert STEPS in logged
    for step in range(1, STEPS + 1):
        losses.append(loop.train_step(run, batches, step - 1).item())
        if step in logged:
            assert sum(losses) / len(losses) == pytest.approx(logged[step]["loss"], rel=1e-3), step
            assert run.optimizer.param_groups[0]["lr"] == pytest.approx(logged[step]["lr"])
            assert step / run.batches.steps_per_epoch == pytest.approx(
                logged[step]["epoch"], abs=1e-4
            )
            losses.clear()


def test_the_rendered_streets(tmp_path, monkeypatch):
    def open_dataset(settings, training):
        return TrainSplit(4000, (512, 1024), seed=settings.seed)

    monkeypatch.setattr(building, "open_dataset", open_dataset)
    assert_begins_as_recorded("nano-synthetic.jsonl", tmp_path)


@pytest.mark.skipif("DDRNET_CAMVID" not in os.environ, reason="DDRNET_CAMVID names no folder")
def test_camvid(tmp_path):
    data_path = os.environ["DDRNET_CAMVID"]
    assert_begins_as_recorded("nano-camvid.jsonl", tmp_path, data_path)
