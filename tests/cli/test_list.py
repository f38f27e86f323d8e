import json

import pytest

from ddrnet.cli import main, table
from ddrnet.pretrained.weights_cache import CacheFolder, Record
from ddrnet.registry import get_weights, list_models


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("DDRNET_HUB_ORG", raising=False)


def listed(capsys, *arguments):
    assert main(["list", "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def not_shipped(rows):
    return [row for row in rows if row["verified"] != "ships with ddrnet"]


def test_what_ships_with_the_package_is_always_there(capsys, tmp_path):
    rows = listed(capsys, "--cached", "--cache-dir", str(tmp_path))
    assert {row["tag"] for row in rows} == {"camvid", "synthetic"}
    assert main(["list", "--remove", "ddrnet_23_nano.camvid"]) == 1
    assert "ships with ddrnet" in capsys.readouterr().err


def test_lists_every_model_and_every_weights_row(capsys):
    rows = listed(capsys)
    assert {row["model"] for row in rows} == set(list_models())
    names = [f"{row['model']}.{row['tag']}" for row in rows if row["tag"]]
    assert sorted(names) == sorted(list_models(pretrained=True))


def test_pretrained_leaves_out_models_without_weights(capsys):
    assert all(row["tag"] for row in listed(capsys, "--pretrained"))


def test_takes_a_pattern(capsys):
    assert {row["model"] for row in listed(capsys, "*39*")} == {"ddrnet_39"}
    assert listed(capsys, "*resnet*") == []


def test_says_what_a_result_is_worth(capsys):
    (row,) = listed(capsys, "ddrnet_39.cityscapes_sg")
    assert row["value"] == pytest.approx(0.8517)
    assert row["conditions"].startswith("Cityscapes val, 1024 x 2048, single scale")
    assert row["default"]
    assert row["extra_data"]
    assert row["cached"] is None


def test_prints_a_table_with_results_and_caveats(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["model", "tag", "params", "GMACs"]
    best = next(line for line in lines if "85.17" in line)
    assert "32.36 M" in best
    assert "extra data" in best


def test_nothing_found_is_said(capsys):
    assert main(["list", "vgg*"]) == 0
    assert "nothing" in capsys.readouterr().out


def test_finds_and_removes_cached_weights(capsys, tmp_path):
    row = get_weights("ddrnet_39.cityscapes_sg")
    folder = CacheFolder.of(row, tmp_path / "cache")
    folder.path.mkdir(parents=True)
    cache = ["--cache-dir", str(tmp_path / "cache")]
    assert not_shipped(listed(capsys, "--cached", *cache)) == []
    folder.weights.write_bytes(bytes(3 << 20))
    folder.write_record(Record(sha256="0" * 64, size=3 << 20))
    (found,) = not_shipped(listed(capsys, "--cached", *cache))
    assert found["cached"] == str(folder.weights)
    assert found["size"] == 3 << 20
    assert main(["list", "--remove", row.name, *cache]) == 0
    assert "3.0 MiB" in capsys.readouterr().out
    assert not_shipped(listed(capsys, "--cached", *cache)) == []
    assert main(["list", "--remove", row.name, *cache]) == 0
    assert "not cached" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["ddrnet_39", "ddrnet_39.nothing", "nothing.cityscapes"])
def test_remove_wants_a_full_name(capsys, name):
    assert main(["list", "--remove", name]) == 1
    assert capsys.readouterr().err.startswith("ddrnet: error: ")


def test_columns_line_up():
    text = table.aligned(("name", "n"), [("a", "1"), ("long name", "10")], right=("n",))
    assert text.splitlines() == ["name        n", "a           1", "long name  10"]
