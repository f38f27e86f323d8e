"""Models saved, read back, pushed and pulled."""

import hashlib
import json

import pytest
import torch
from loopback import run_fresh

from ddrnet.network import DDRNet
from ddrnet.pretrained.saved_model import read_folder
from ddrnet.pretrained.saving import save_pretrained
from ddrnet.variants import VARIANTS
from ddrnet.weights import ROWS


def rebuilt(folder):
    saved = read_folder(f"local-dir:{folder}")
    spec = saved.spec
    model = DDRNet(
        spec.config,
        spec.num_classes,
        spec.in_chans,
        aux_head=spec.aux_head,
        upsample=spec.upsample,
        classes=spec.classes,
        preprocessing=spec.preprocessing,
    )
    model.load_state_dict(saved.state)
    model.pretrained = spec.row
    return model.eval()


def test_everything_comes_back(tuned_model, tmp_path):
    model = tuned_model
    model.pretrained = next(row for row in ROWS if row.name == "ddrnet_23.cityscapes")
    save_pretrained(model, tmp_path / "new" / "folder", aux_head=True)
    again = rebuilt(tmp_path / "new" / "folder")
    for attribute in ("config", "classes", "preprocessing", "num_classes", "in_chans"):
        assert getattr(again, attribute) == getattr(model, attribute)
    assert again.pretrained is model.pretrained
    assert again.upsample, "a saved model is ready for use"
    again.upsample = model.upsample
    images = torch.randn(2, 4, 65, 97)
    for got, expected in zip(again(images), model(images), strict=True):
        assert torch.equal(got, expected)


def test_the_auxiliary_head_stays_behind_unless_asked_for(tuned_model, tmp_path):
    save_pretrained(tuned_model, tmp_path)
    assert tuned_model.aux_head is not None
    again = rebuilt(tmp_path)
    assert again.aux_head is None
    again.upsample = tuned_model.upsample
    images = torch.randn(1, 4, 64, 64)
    assert torch.equal(again(images), tuned_model(images).logits)
    tuned_model.aux_head = None
    with pytest.raises(ValueError, match="has no auxiliary head to save"):
        save_pretrained(tuned_model, tmp_path, aux_head=True)


def test_a_registered_size_is_named_and_needs_no_tensors(tmp_path):
    save_pretrained(DDRNet(VARIANTS["ddrnet_23_nano"]), tmp_path)
    saved = read_folder(f"local-dir:{tmp_path}", weights=False)
    assert saved.state is None
    assert saved.spec.config == VARIANTS["ddrnet_23_nano"]
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["architecture"], config["config_version"]) == ("ddrnet_23_nano", 1)


def test_same_model_same_bytes(tuned_model, tmp_path):
    model = tuned_model
    for folder in ("a", "b"):
        save_pretrained(model, tmp_path / folder)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["README.md", "config.json", "model.safetensors", "preprocessor_config.json"]
    for name in ("config.json", "model.safetensors"):
        first, second = (hashlib.sha256((tmp_path / x / name).read_bytes()) for x in "ab")
        assert first.digest() == second.digest()


def test_memory_format_does_not_matter(tuned_model, tmp_path):
    model = tuned_model
    save_pretrained(model, tmp_path / "a")
    save_pretrained(model.to(memory_format=torch.channels_last), tmp_path / "b")
    first, second = (tmp_path / x / "model.safetensors" for x in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_refuses_what_could_not_be_loaded_again(tuned_model, tmp_path):
    with pytest.raises(TypeError, match=r"expected a DDRNet, got Sequential; unwrap it"):
        save_pretrained(torch.nn.Sequential(tuned_model), tmp_path)
    model = tuned_model
    model.stem[1] = torch.nn.Identity()
    with pytest.raises(ValueError, match=r"fused or otherwise changed.*stem\.1\."):
        save_pretrained(model, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way(tuned_model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match="file"):
        save_pretrained(tuned_model, tmp_path / "file")


def test_a_tuned_model_goes_to_the_hub_and_comes_back(server, tmp_path):
    code = """
import ddrnet, torch
from ddrnet.weights.row import Preprocessing
classes = [ddrnet.ClassLabel(f"own {k}", (k, 2 * k, 3 * k)) for k in range(5)]
model = ddrnet.create_model("ddrnet_23_nano", num_classes=5, in_chans=4, aux_head=True,
                            class_names=classes,
                            preprocessing=Preprocessing((0.1, 0.2, 0.3, 0.4), (1, 2, 3, 4)))
revision = ddrnet.push_to_hub(model, "me/own", aux_head=True)
again = ddrnet.create_model(f"hf-hub:me/own@{revision}", pretrained=True)
empty = ddrnet.create_model("hf-hub:me/own")
images = torch.randn(2, 4, 64, 96)
first, second = model.eval()(images), again.eval()(images)
report({
    "equal": all(torch.equal(a, b) for a, b in zip(first, second)),
    "described": [
        getattr(model, name) == getattr(other, name)
        for name in ("config", "classes", "preprocessing", "num_classes", "in_chans")
        for other in (again, empty)
    ],
    "untrained differs": not torch.equal(empty.eval()(images).logits, second.logits),
})
"""
    result = run_fresh(code, server, tmp_path, HF_TOKEN="hf_secret")
    assert result["equal"]
    assert all(result["described"])
    assert result["untrained differs"]
