"""Reads tests/golden: formula weights and images, recorded logits. See tests/golden/README.md."""

import json
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import torch

from ddrnet import create_model

FOLDER = Path(__file__).parent / "golden"


@cache
def keys(family):
    """The state-dict shapes of every model of `family`: {model: {key: shape}}."""
    return json.loads((FOLDER / f"{family}.keys.json").read_text())


@cache
def outputs(family):
    """The recorded arrays of `family`: {"model.HxW.main": logits}."""
    with np.load(FOLDER / f"{family}.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def state_dict(shapes):
    """The weights that the recorded models had, from key names alone."""
    return {key: torch.from_numpy(_tensor(key, shape)) for key, shape in shapes.items()}


def nano_checkpoint(path, **options):
    """Save formula weights of a nano model built with `options`; return the path as text."""
    state = create_model("ddrnet_23_nano", **options).state_dict()
    torch.save(state_dict({key: tensor.shape for key, tensor in state.items()}), path)
    return str(path)


def image(height, width):
    """The batch (2, 3, height, width) that the recorded models saw."""
    return torch.from_numpy(
        _random(f"image{height}x{width}").standard_normal((2, 3, height, width)).astype(np.float32)
    )


def relative_error(got, expected):
    """Largest difference as a fraction of the largest expected magnitude."""
    return ((got - expected).abs().max() / expected.abs().max()).item()


def _random(text):
    return np.random.RandomState(zlib.crc32(text.encode()))


def _tensor(key, shape):
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    random = _random(key)
    if len(shape) in (2, 4):
        value = random.standard_normal(shape) * np.sqrt(1 / np.prod(shape[1:]))
    elif key.endswith("running_var") or (key.endswith(".weight") and len(shape) == 1):
        value = random.uniform(0.5, 1.5, shape)
    else:
        value = 0.1 * random.standard_normal(shape)
    return np.asarray(value, np.float32)
