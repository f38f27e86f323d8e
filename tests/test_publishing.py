"""Mirrors of registered checkpoints."""

import pytest
import yaml
from containers import row_file
from loopback import Loopback

from ddrnet import publishing, registry
from ddrnet.errors import HubError
from ddrnet.network import DDRNet
from ddrnet.pretrained.saved_model import read_folder


@pytest.fixture(scope="module")
def server():
    with Loopback() as loopback:
        yield loopback


@pytest.fixture
def slim(server):
    """The registered row, its file on loopback."""
    row = registry.get_weights("ddrnet_23_slim.cityscapes_mmseg")
    return server.mirror(row, row_file(row))


def test_a_mirror_is_a_model_with_an_honest_card(slim, tmp_path):
    files = publishing.mirror_files(slim, "me/model", tmp_path / "cache")
    folder = publishing.write_mirror(slim, files, tmp_path)
    saved = read_folder(f"local-dir:{folder}")
    assert saved.spec.aux_head
    assert saved.spec.row.name == slim.name
    model = DDRNet(saved.spec.config, saved.spec.num_classes, aux_head=True)
    model.load_state_dict(saved.state)
    card = files["README.md"].decode()
    data = yaml.safe_load(card.split("---\n")[1])
    assert (data["license"], data["datasets"]) == ("apache-2.0", ["cityscapes"])
    assert data["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.7784
    assert slim.data_terms in card
    assert "hf-hub:me/model" in card


def test_a_mirror_of_a_backbone_says_what_it_is(server, tmp_path, monkeypatch):
    row = registry.get_weights("ddrnet_23_slim.in1k")
    files = publishing.mirror_files(
        server.mirror(row, row_file(row)), "me/ddrnet_23_slim.in1k", tmp_path / "cache"
    )
    folder = publishing.write_mirror(row, files, tmp_path)
    with pytest.raises(HubError, match="holds a classification model, not a segmentation model"):
        read_folder(f"local-dir:{folder}")
    assert "create_model('ddrnet_23_slim.in1k'" in files["README.md"].decode()
