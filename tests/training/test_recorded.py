"""The runs that trained the weights that ship, begun again: the losses are the recorded ones.

Training amplifies rounding, which differs between processors and releases of torch. Both runs begin
with a low learning rate, so that fifty steps show little of it.
"""

import json
import os
from pathlib import Path

import pytest

from ddrnet import training
from ddrnet.data import SyntheticStreets
from ddrnet.data.street_tree import VAL_EVERY
from ddrnet.training import building, loop

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fresh_process")]

LOGS = Path(__file__).parents[2] / "docs" / "training"
STEPS = 50


class TrainSplit(SyntheticStreets):
    """What `ddrnet data synthesize` writes as `train`, rendered when read."""

    def __init__(self, streets, size, **options):
        super().__init__(streets, size, **options)
        self.length = streets - streets // VAL_EVERY

    def read(self, index):
        return super().read(index + index // (VAL_EVERY - 1))


def begun_again(monkeypatch, folder, recorded, data_path=None):
    """Train for the first steps as a log says; returns the lines of the new log."""
    after = iter([False] * (STEPS - 1) + [True])
    monkeypatch.setattr(loop.Interruption, "__call__", lambda self: next(after))
    given = recorded[0]["settings"] | {"data_path": data_path, "output": str(folder), "cpu": True}
    given |= {"cache_dir": None, "workers": 2, "validate_every": 0}
    with pytest.raises(KeyboardInterrupt):
        training.train(training.Settings(**given))
    return lines(folder / "log.jsonl")


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def assert_as_recorded(recorded, again):
    one, other = (
        [row for row in rows if "lr" in row and row["step"] <= STEPS] for rows in (recorded, again)
    )
    assert other[-1]["step"] == STEPS
    for row, new in zip(one, other, strict=True):
        assert new["loss"] == pytest.approx(row["loss"], rel=1e-3)
        assert new["lr"] == pytest.approx(row["lr"])
        assert (new["step"], new["epoch"]) == (row["step"], row["epoch"])


def test_the_rendered_streets(tmp_path, monkeypatch):
    recorded = lines(LOGS / "nano-synthetic.jsonl")

    def open_dataset(settings, training):
        return TrainSplit(4000, (512, 1024), seed=settings.seed)

    monkeypatch.setattr(building, "open_dataset", open_dataset)
    assert_as_recorded(recorded, begun_again(monkeypatch, tmp_path, recorded))


@pytest.mark.skipif("DDRNET_CAMVID" not in os.environ, reason="DDRNET_CAMVID names no folder")
def test_camvid(tmp_path, monkeypatch):
    recorded = lines(LOGS / "nano-camvid.jsonl")
    again = begun_again(monkeypatch, tmp_path, recorded, os.environ["DDRNET_CAMVID"])
    assert_as_recorded(recorded, again)
