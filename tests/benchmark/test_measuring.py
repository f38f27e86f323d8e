import time

import numpy as np
import pytest
import torch
from PIL import Image

import ddrnet
from ddrnet.benchmark import measuring
from ddrnet.benchmark.measuring import PROCESSOR, STEPS, Duration, Plan, Times, measure
from ddrnet.benchmark.pipelines import PredictorPipeline, Way
from ddrnet.benchmark.subject import Subject
from ddrnet.errors import DDRNetError

NANO = Subject("ddrnet_23_nano.synthetic")


def plan(**changes):
    settings = {
        "subjects": [NANO],
        "sizes": [(64, 96)],
        "ways": [Way("torch")],
        "threads": [1],
        "device": torch.device("cpu"),
        "repeats": 2,
    }
    return Plan(**settings | changes)


@pytest.fixture(autouse=True)
def no_processes(monkeypatch):
    monkeypatch.setattr(measuring, "peak_mib", lambda *_: 12.0)


def test_every_combination_gives_a_row():
    rows = list(
        measure(plan(sizes=[(64, 96), (50, 40)], ways=[Way("torch"), Way("torch", "bfloat16")]))
    )
    assert [(row.size, str(row.way)) for row in rows] == [
        (size, way)
        for size in ((64, 96), (50, 40))
        for way in ("plain", "torch float32", "torch bfloat16")
    ]
    for row in rows:
        assert row.model == row.weights == NANO.name
        assert list(row.times) == [*STEPS, PROCESSOR]
        assert all(len(times.milliseconds) == 2 for times in row.times.values())
        assert all(min(times.milliseconds) > 0 for times in row.times.values())
        assert row.first_seconds > 0
        assert row.peak_mib == 12


def test_a_row_is_compared_with_the_plain_one_beside_it():
    plain, ours = measure(plan())
    assert (plain.times_faster, plain.different) == (1, 0)
    medians = [row.times["end_to_end"].median for row in (plain, ours)]
    assert ours.times_faster == pytest.approx(medians[0] / medians[1])
    assert ours.different < 1e-3
    assert ours.batch_norms < plain.batch_norms


def test_threads_are_those_of_the_plan_and_restored():
    before = torch.get_num_threads()
    seen = []
    for row in measure(plan(threads=[1, 2], repeats=1)):
        seen.append((row.threads, torch.get_num_threads()))
    assert seen == [(1, 1), (1, 1), (2, 2), (2, 2)]
    assert torch.get_num_threads() == before


@pytest.mark.slow
def test_threads_are_restored_when_the_caller_stops():
    before = torch.get_num_threads()
    rows = measure(plan(threads=[before + 1]))
    next(rows)
    rows.close()
    assert torch.get_num_threads() == before


def test_the_ways_take_turns(monkeypatch):
    calls = []

    def note(call, device):
        calls.append(type(call.func.__self__).__name__)
        call()
        return Duration(1.0, 1.0)

    monkeypatch.setattr(measuring, "time_call", note)
    list(measure(plan(repeats=3)))
    assert calls == ["PlainPipeline", "PredictorPipeline"] * (1 + 3 * len(STEPS))


def test_a_given_picture_is_resized(tmp_path, monkeypatch):
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (200, 100), (30, 120, 200)).save(path)
    seen = []
    segment = PredictorPipeline.segment

    def look(self, image, labels):
        seen.append(np.asarray(Image.open(image)))
        segment(self, image, labels)

    monkeypatch.setattr(PredictorPipeline, "segment", look)
    list(measure(plan(image=path, sizes=[(40, 80)], repeats=1)))
    assert seen[0].shape == (40, 80, 3)
    assert np.abs(seen[0].astype(int) - [30, 120, 200]).max() <= 3


def test_an_absent_picture_raises(tmp_path):
    with pytest.raises(FileNotFoundError):
        next(measure(plan(image=tmp_path / "absent.png")))


def test_unfolded_batch_norm_raises(monkeypatch):
    fuse = ddrnet.fuse
    monkeypatch.setattr("ddrnet.predictor.engine.fuse", lambda model: model.without_aux_head())
    with pytest.raises(DDRNetError, match="BatchNorm was not folded"):
        next(measure(plan()))
    monkeypatch.setattr("ddrnet.predictor.engine.fuse", fuse)
    assert next(measure(plan()))


def test_random_weights_stand_in_the_row():
    row = next(measure(plan(subjects=[Subject("ddrnet_23_nano", random_weights=True)], repeats=1)))
    assert row.weights == "RANDOM"


@pytest.mark.parametrize(
    ("values", "median", "quartiles"),
    [((5.0,), 5, (5, 5)), ((1.0, 9.0, 2.0, 4.0, 3.0), 3, (2, 4)), ((4.0, 2.0), 3, (2.5, 3.5))],
)
def test_times_have_a_median_and_quartiles(values, median, quartiles):
    assert Times(values).median == median
    assert Times(values).quartiles == quartiles


def test_a_call_is_timed(device):
    matrix = torch.ones(64, 64, device=device)
    wall, processor = measuring.time_call(lambda: matrix @ matrix, device)
    assert 0 < wall < 60_000
    assert processor >= 0


def test_waiting_takes_time_but_no_processor(device):
    wall, processor = measuring.time_call(lambda: time.sleep(0.2), device)
    assert wall >= 199
    assert processor < wall
