"""Folders that hold a saved model, something else, or nothing."""

import json

import pytest
import torch
from containers import saved
from loopback import Repo, run_fresh
from safetensors.torch import load_file, save_file

from ddrnet.errors import HubError
from ddrnet.pretrained.saved_model import is_saved_model, read_folder
from ddrnet.pretrained.saving import save_pretrained


def changed_config(tuned_model, tmp_path, **fields):
    save_pretrained(tuned_model, tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"config_version": 2}, "saved by a newer ddrnet (config version 2"),
        ({"library": "timm", "architecture": "resnet50"}, "another architecture, 'resnet50'"),
        ({"config_version": None}, "config_version is None"),
        ({"num_classes": 5, "classes": 3}, "is damaged"),
        ({"num_classes": 6}, "num_classes=6 contradicts 5 class names"),
        ({"num_classes": "5"}, "num_classes is '5', expected int"),
        ({"in_chans": 3}, "3 means and standard deviations, one per input channel"),
        ({"aux_head": "no"}, "aux_head is 'no', expected bool"),
        ({"preprocessing": {"mean": ["a"], "std": [1]}}, "is damaged"),
        ({"task": "detection"}, "task is 'detection'"),
        ({"surprise": 1}, "is damaged"),
        ({"config": {"width": 4}}, "is damaged"),
        (
            {"task": "classification", "pretrained": "ddrnet_23.in1k"},
            "holds a classification model",
        ),
    ],
)
def test_config_that_cannot_be_used(tuned_model, tmp_path, fields, message):
    changed_config(tuned_model, tmp_path, **fields)
    with pytest.raises(HubError) as error:
        read_folder(f"local-dir:{tmp_path}", weights=False)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"head.conv2.bias": torch.zeros(6)},
            r"1 of another shape \(head.conv2.bias is 6, expected 5\)",
        ),
        ({"surprise": torch.zeros(1)}, r"1 left over \(surprise 1\)"),
        ({"dappm.merge.0.weight": None}, r"1 missing \(dappm.merge.0.weight\)"),
    ],
    ids=["other classes", "left over", "missing"],
)
def test_weights_of_another_model_are_not_adapted(tuned_model, tmp_path, change, message):
    """Adapting them would leave parts of the model untrained without a word."""
    save_pretrained(tuned_model, tmp_path)
    state = {**load_file(tmp_path / "model.safetensors"), **change}
    state = {key: tensor for key, tensor in state.items() if tensor is not None}
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(HubError, match=f"does not hold the model.*: {message}"):
        read_folder(f"local-dir:{tmp_path}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not strict JSON"),
        (b"\xff\xfe", "not text"),
        (b"[]", "is not a ddrnet model"),
        (b'{"model_type": "segformer"}', "holds another architecture, 'segformer'"),
        (None, "has no file config.json"),
    ],
)
def test_folder_of_something_else(tmp_path, content, message):
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(HubError) as error:
        read_folder(f"local-dir:{tmp_path}")
    assert message in str(error.value)


def test_missing_folder_and_missing_weights(tuned_model, tmp_path):
    with pytest.raises(HubError, match=r"there is no folder .*nowhere"):
        read_folder(f"local-dir:{tmp_path}/nowhere")
    save_pretrained(tuned_model, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    assert read_folder(f"local-dir:{tmp_path}", weights=False).state is None
    with pytest.raises(HubError, match=r"has no file model\.safetensors"):
        read_folder(f"local-dir:{tmp_path}")


def test_a_pickle_called_safetensors_is_not_read(tuned_model, tmp_path):
    save_pretrained(tuned_model, tmp_path)
    torch.save({"stem.0.weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(HubError, match="not a safetensors file"):
        read_folder(f"local-dir:{tmp_path}")


def test_the_folder_of_a_run_leads_to_its_best_model(tuned_model, tmp_path):
    save_pretrained(tuned_model, tmp_path / "best")
    with pytest.raises(HubError, match=r"has no file config\.json.*; a run's model is in .*best"):
        read_folder(f"local-dir:{tmp_path}")


def test_names_of_folders():
    assert is_saved_model("hf-hub:owner/repo@main")
    assert is_saved_model("local-dir:~/model")
    assert not is_saved_model("ddrnet_23.cityscapes")


def test_a_pickle_on_the_hub_is_never_fetched(server, tmp_path, tuned_model):
    repo = Repo()
    save_pretrained(tuned_model, tmp_path / "saved")
    files = {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()}
    del files["model.safetensors"]
    repo.add_commit({**files, "model.pth": saved({"a": torch.ones(1)}), "pytorch_model.bin": b"x"})
    server.repos = {"me/pickled": repo}
    code = """
from ddrnet.errors import HubError
from ddrnet.pretrained.saved_model import read_folder
try:
    read_folder("hf-hub:me/pickled")
except HubError as error:
    report(str(error))
"""
    result = run_fresh(code, server, tmp_path)
    assert "has no file model.safetensors" in result
    assert {path.rpartition("/")[2] for _, path in server.requests} == {
        "config.json",
        "model.safetensors",
    }
