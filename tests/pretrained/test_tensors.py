"""Tensors in safetensors files, and the tensors that a model needs."""

import json
import struct

import golden_data
import pytest
import torch
from containers import saved

from ddrnet.checkpoints import describe, to_ddrnet
from ddrnet.errors import CheckpointError
from ddrnet.pretrained.fetch import row_spec
from ddrnet.pretrained.tensors import expected_tensors, read_safetensors, serialize
from ddrnet.registry import get_weights
from ddrnet.spec import PartialSpec
from ddrnet.variants import VARIANTS


def header(content):
    """The header as the format defines it: its length in 8 bytes, then JSON."""
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length])


def test_what_is_written_is_read_again(tmp_path):
    state = {
        "weight": torch.randn(4, 3, 3, 3).to(memory_format=torch.channels_last),
        "half": torch.randn(5).half(),
        "counter": torch.tensor(7),
        "parameter": torch.nn.Parameter(torch.randn(2)),
    }
    (tmp_path / "file").write_bytes(serialize(state))
    again = read_safetensors(tmp_path / "file")
    assert again.keys() == state.keys()
    for key, tensor in state.items():
        assert again[key].dtype == tensor.dtype
        assert torch.equal(again[key], tensor)


def test_equal_tensors_give_equal_bytes_in_any_order():
    state = {"b": torch.ones(2, 3), "a": torch.zeros(1)}
    content = serialize(state)
    assert content == serialize(dict(reversed(state.items())))
    assert header(content) == {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        "b": {"dtype": "F32", "shape": [2, 3], "data_offsets": [4, 28]},
    }


@pytest.mark.parametrize("content", [b"", b"text", saved({"a": torch.ones(1)})])
def test_refuses_anything_else(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(CheckpointError, match="file is not a safetensors file"):
        read_safetensors(tmp_path / "file")


@pytest.mark.parametrize("model", ["ddrnet_23_slim", "ddrnet_23", "ddrnet_39"])
def test_a_published_model_has_exactly_the_expected_tensors(model):
    """The authors' recorded keys and shapes, with the auxiliary head."""
    shapes = golden_data.keys("official")[model]
    published = to_ddrnet({key: torch.empty(shape) for key, shape in shapes.items()})
    held = describe(published)
    spec = PartialSpec(config=held.config, num_classes=held.num_classes, aux_head=True)
    expected = expected_tensors(spec.complete())
    assert {key: t.shape for key, t in expected.items()} == {
        key: t.shape for key, t in published.items()
    }
    assert all(tensor.is_meta for tensor in expected.values())


@pytest.mark.parametrize("model", ["ddrnet_23_slim", "ddrnet_23", "ddrnet_39"])
def test_a_published_classifier_has_exactly_the_expected_tensors(model):
    shapes = golden_data.keys("official")[f"{model}.classification"]
    published = to_ddrnet({key: torch.empty(shape, device="meta") for key, shape in shapes.items()})
    expected = expected_tensors(row_spec(get_weights(f"{model}.in1k"), aux_head=False))
    assert {key: t.shape for key, t in expected.items()} == {
        key: t.shape for key, t in published.items()
    }


def test_classes_channels_and_head_decide_the_tensors():
    config = VARIANTS["ddrnet_23_nano"]
    expected = expected_tensors(PartialSpec(config=config, num_classes=5, in_chans=4).complete())
    assert expected["head.conv2.weight"].shape[0] == 5
    assert expected["stem.0.weight"].shape[1] == 4
    assert not any(key.startswith("aux_head.") for key in expected)
