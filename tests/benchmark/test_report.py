import json

import pytest
import torch

from ddrnet.benchmark.conditions import Conditions
from ddrnet.benchmark.machine import processor_name
from ddrnet.benchmark.measuring import PROCESSOR, STEPS, Row, Times
from ddrnet.benchmark.pipelines import Way
from ddrnet.benchmark.report import HEADER, cells, markdown, notes, read_rows, to_json
from ddrnet.registry import get_weights

CONDITIONS = Conditions.now(torch.device("cpu"))


def row(**changes):
    fields = {
        "model": "ddrnet_23_slim",
        "weights": "ddrnet_23_slim.cityscapes",
        "published": get_weights("ddrnet_23_slim").metrics[0],
        "size": (1024, 2048),
        "threads": 2,
        "way": Way("torch", "bfloat16", True),
        "batch_norms": 12,
        "first_seconds": 61.7,
        "times": {step: Times((1234.4, 10.0, 2000.0)) for step in (*STEPS, PROCESSOR)},
        "times_faster": 2.345,
        "different": 4.77e-7,
        "peak_mib": 512.3,
    }
    return Row(**fields | changes)


def test_a_row_shows_what_was_measured():
    assert cells(row()) == (
        *("ddrnet_23_slim", "1024 x 2048", "2", "torch bfloat16 compiled"),
        *["1234 (622-1617)"] * 3,
        *("2.35", "1234 (622-1617)", "4.8e-07", "512"),
    )


def test_nothing_is_left_unsaid():
    shown = cells(row(weights="RANDOM", peak_mib=None, different=0.0))
    assert shown[0] == "ddrnet_23_slim (RANDOM WEIGHTS)"
    assert shown[-2:] == ("0", "not measured")


def test_notes_tell_weights_folding_and_compilation():
    plain = row(way=Way(), batch_norms=55)
    conditions, model, compiled, spread = notes([plain, row()], CONDITIONS)
    assert conditions == str(CONDITIONS)
    assert "ddrnet_23_slim.cityscapes, loaded strictly" in model
    assert "55 in plain, 12 after folding" in model
    assert compiled.endswith("the first call took 62 s")
    assert "median (quartiles) of 3 calls" in spread


def test_notes_shout_random_weights():
    assert "RANDOM WEIGHTS" in notes([row(weights="RANDOM")], CONDITIONS)[1]


def test_the_markdown_table_has_a_cell_for_every_column():
    lines = markdown([row(), row(way=Way())]).splitlines()
    assert len(lines) == 4
    assert {line.count("|") for line in lines} == {len(HEADER) + 1}


def test_json_keeps_every_call(tmp_path):
    rows = [row(), row(way=Way(), published=None, peak_mib=None, batch_norms=None)]
    path = tmp_path / "times.json"
    path.write_text(to_json(rows, CONDITIONS))
    assert json.loads(path.read_text())["conditions"]["versions"]["torch"] == torch.__version__
    assert read_rows(path) == rows


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"rows": [{"model": 1}]}', "\x00"])
def test_other_files_are_refused_by_name(content, tmp_path):
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"other\.json is no JSON file of ddrnet benchmark"):
        read_rows(path)


def test_conditions_name_processor_and_versions():
    text = str(CONDITIONS)
    assert processor_name() in text
    for part in ("torch", "torchvision", "pillow", "Python", "ddrnet", "UTC", "cores"):
        assert part in text
