"""Models saved, read back, pushed and pulled."""

import hashlib
import json
import math

import pytest
import torch
import yaml

from ddrnet.errors import HubError
from ddrnet.labels import ClassLabel
from ddrnet.network import DDRNet
from ddrnet.pretrained import is_folder_name, read_folder, save_pretrained
from ddrnet.variants import VARIANTS, DDRNetConfig
from ddrnet.weights import ROWS
from ddrnet.weights.row import Metric, Preprocessing

TINY = DDRNetConfig(4, (1, 1), ((16, 1), (32, 1)), dappm_width=8, head_width=4)
CLASSES = (
    ClassLabel("field", (0, 128, 0), 0, category="ground"),
    ClassLabel("Straße", (90, 90, 90), 1, id=7),
    ClassLabel("sky", (1, 2, 3), 2),
    ClassLabel("tree", (4, 5, 6), 3),
    ClassLabel("person", (220, 20, 60), 4, has_instances=True),
)


def tuned_model():
    """A model that differs from the defaults in everything."""
    preprocessing = Preprocessing((0.1, 0.2, 0.3, 1 / 3), (1.0, 2.0, 3.0, 0.1))
    model = DDRNet(
        TINY, 5, 4, aux_head=True, upsample=False, classes=CLASSES, preprocessing=preprocessing
    )
    for norm in model.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 1.5)
    return model.eval()


def rebuilt(folder):
    saved = read_folder(f"local-dir:{folder}")
    model = DDRNet(saved.config, **saved.options)
    model.load_state_dict(saved.state)
    model.pretrained = saved.row
    return model.eval()


def test_everything_comes_back(tmp_path):
    model = tuned_model()
    model.pretrained = next(row for row in ROWS if row.name == "ddrnet_23.cityscapes")
    save_pretrained(model, tmp_path / "new" / "folder")
    again = rebuilt(tmp_path / "new" / "folder")
    for attribute in ("config", "classes", "preprocessing", "num_classes", "in_chans", "upsample"):
        assert getattr(again, attribute) == getattr(model, attribute)
    assert again.pretrained is model.pretrained
    images = torch.randn(2, 4, 65, 97)
    for got, expected in zip(again(images), model(images), strict=True):
        assert torch.equal(got, expected)


def test_a_registered_size_is_named_and_needs_no_tensors(tmp_path):
    save_pretrained(DDRNet(VARIANTS["ddrnet_23_nano"]), tmp_path)
    saved = read_folder(f"local-dir:{tmp_path}", weights=False)
    assert saved.state is None
    assert saved.config == VARIANTS["ddrnet_23_nano"]
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["architecture"], config["config_version"]) == ("ddrnet_23_nano", 1)


def test_same_model_same_bytes(tmp_path):
    model = tuned_model()
    for folder in ("a", "b"):
        save_pretrained(model, tmp_path / folder)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["README.md", "config.json", "model.safetensors"]
    for name in ("config.json", "model.safetensors"):
        first, second = (hashlib.sha256((tmp_path / x / name).read_bytes()) for x in "ab")
        assert first.digest() == second.digest()


def test_memory_format_does_not_matter(tmp_path):
    model = tuned_model()
    save_pretrained(model, tmp_path / "a")
    save_pretrained(model.to(memory_format=torch.channels_last), tmp_path / "b")
    first, second = (tmp_path / x / "model.safetensors" for x in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_card_says_what_the_hub_wants_to_know(tmp_path):
    metric = Metric("mIoU", 0.75, "Fields", "val", (256, 512), reported_by="me")
    model = tuned_model()
    save_pretrained(model, tmp_path, metrics=[metric], license="MIT", datasets=["Fields"])
    _, header, body = (tmp_path / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    data = yaml.safe_load(header)
    assert data["library_name"] == "ddrnet"
    assert data["pipeline_tag"] == "image-segmentation"
    assert data["license"] == "mit"
    assert data["datasets"] == ["fields"]
    (index,) = data["model-index"]
    (result,) = index["results"]
    assert result["dataset"] == {"name": "Fields", "type": "fields", "split": "val"}
    assert result["metrics"][0]["type"] == "mean_iou"
    assert math.isclose(result["metrics"][0]["value"], 0.75)
    assert "| mIoU | 75.0 | Fields val, 256 x 512, single scale | me |" in body
    assert "| 1 | Straße | 90, 90, 90 |" in body
    assert "'local-dir:path/to/this/folder'" in body
    assert str(tmp_path) not in body


def test_card_claims_nothing_it_was_not_told(tmp_path):
    model = tuned_model()
    save_pretrained(model, tmp_path / "own")
    text = (tmp_path / "own" / "README.md").read_text(encoding="utf-8")
    assert "license" not in text
    assert "model-index" not in text
    assert "Results" not in text
    model.pretrained = next(row for row in ROWS if row.name == "ddrnet_23.cityscapes_mmseg")
    save_pretrained(model, tmp_path / "tuned")
    text = (tmp_path / "tuned" / "README.md").read_text(encoding="utf-8")
    assert "license: apache-2.0" in text
    assert "Training started from `ddrnet_23.cityscapes_mmseg`" in text
    assert "79.99" not in text


def test_refuses_what_could_not_be_loaded_again(tmp_path):
    with pytest.raises(TypeError, match=r"expected a DDRNet, got Sequential; unwrap it"):
        save_pretrained(torch.nn.Sequential(tuned_model()), tmp_path)
    model = tuned_model()
    model.stem[1] = torch.nn.Identity()
    with pytest.raises(ValueError, match=r"fused or otherwise changed.*stem\.1\."):
        save_pretrained(model, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match="file"):
        save_pretrained(tuned_model(), tmp_path / "file")


def changed_config(tmp_path, **fields):
    save_pretrained(tuned_model(), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"config_version": 2}, "saved by a newer ddrnet (config version 2"),
        ({"library": "timm", "architecture": "resnet50"}, "another architecture, 'resnet50'"),
        ({"num_classes": 5, "classes": 3}, "is damaged"),
        ({"surprise": 1}, "is damaged"),
        ({"config": {"width": 4}}, "is damaged"),
        ({"task": "classification", "pretrained": "ddrnet_23.in1k"}, "holds a classification"),
    ],
)
def test_config_that_cannot_be_used(tmp_path, fields, message):
    changed_config(tmp_path, **fields)
    with pytest.raises(HubError) as error:
        read_folder(f"local-dir:{tmp_path}")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not JSON"),
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


def test_missing_folder_and_missing_weights(tmp_path):
    with pytest.raises(HubError, match=r"there is no folder .*nowhere"):
        read_folder(f"local-dir:{tmp_path}/nowhere")
    save_pretrained(tuned_model(), tmp_path)
    (tmp_path / "model.safetensors").unlink()
    assert read_folder(f"local-dir:{tmp_path}", weights=False).state is None
    with pytest.raises(HubError, match=r"has no file model\.safetensors"):
        read_folder(f"local-dir:{tmp_path}")


def test_a_pickle_called_safetensors_is_not_read(tmp_path):
    save_pretrained(tuned_model(), tmp_path)
    torch.save({"stem.0.weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(HubError, match="not a safetensors file"):
        read_folder(f"local-dir:{tmp_path}")


def test_names_of_folders():
    assert is_folder_name("hf-hub:owner/repo@main")
    assert is_folder_name("local-dir:~/model")
    assert not is_folder_name("ddrnet_23.cityscapes")
