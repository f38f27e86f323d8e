import importlib.util

import pytest
from PIL import Image

from ddrnet.benchmark.latency_plot import draw_latency
from ddrnet.benchmark.measuring import PROCESSOR, STEPS, Row, Times
from ddrnet.benchmark.pipelines import Way
from ddrnet.errors import DDRNetError
from ddrnet.registry import get_weights

SLIM = get_weights("ddrnet_23_slim").metrics[0]


def row(model="ddrnet_23_slim", published=SLIM, threads=1, way=None, milliseconds=100.0):
    return Row(
        model=model,
        weights="RANDOM" if published is None else model,
        published=published,
        size=(1024, 2048),
        threads=threads,
        way=way or Way(),
        batch_norms=1,
        first_seconds=1.0,
        times={step: Times((milliseconds,)) for step in (*STEPS, PROCESSOR)},
        times_faster=1.0,
        different=0.0,
        peak_mib=None,
    )


@pytest.mark.parametrize(
    "rows",
    [
        [row(), row(way=Way("torch"), milliseconds=40)],
        [row("mine", None)],
        [row(), row("mine", None, milliseconds=20), row(threads=2), row("mine", None, threads=2)],
    ],
    ids=["published", "unpublished", "both, 2 threads"],
)
def test_draws_models_with_and_without_a_published_figure(rows, tmp_path):
    draw_latency(tmp_path / "latency.png", rows)
    with Image.open(tmp_path / "latency.png") as picture:
        colors = picture.convert("RGB").getcolors(1 << 24)
    assert len(colors) > 20


def test_nothing_to_draw_raises(tmp_path):
    with pytest.raises(ValueError, match="no measurement"):
        draw_latency(tmp_path / "latency.png", [])


def test_missing_matplotlib_names_the_extra(tmp_path, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "ddrnet.benchmark.latency_plot.find_spec",
        lambda name: None if name == "matplotlib" else find_spec(name),
    )
    with pytest.raises(DDRNetError, match=r"ddrnet\[plot\]"):
        draw_latency(tmp_path / "latency.png", [row()])
