"""What is fuzzed: readers of files and answers that come from anywhere.

A target takes bytes and may raise nothing: each catches the errors that its reader documents.
"""

import atexit
import contextlib
import io
import json
import os
import shutil
import tempfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save

from ddrnet.checkpoints import read_state_dict
from ddrnet.data.decoding import decode_image, decode_labels
from ddrnet.errors import CheckpointError, HubError
from ddrnet.pretrained.web_page import WebPage
from ddrnet.spec import ModelSpec, PartialSpec, is_own_config
from ddrnet.variants import VARIANTS

warnings.simplefilter("ignore")  # Pillow warns of much that it still reads

FOLDER = Path(tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None))

atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


def file_of(data):
    path = FOLDER / f"input.{os.getpid()}"
    path.write_bytes(data)
    return path


def checkpoint(data):
    with contextlib.suppress(CheckpointError):
        state = read_state_dict(file_of(data))
        assert state
        assert all(isinstance(tensor, torch.Tensor) for tensor in state.values())


def image(data):
    with contextlib.suppress(ValueError):
        decoded = decode_image(file_of(data))
        assert decoded.dtype == torch.uint8
        assert decoded.shape[0] == 3


def labels(data):
    with contextlib.suppress(ValueError):
        decoded = decode_labels(file_of(data))
        assert np.issubdtype(decoded.dtype, np.integer)


def config(data):
    text = data.decode("utf-8", errors="replace")
    is_own = is_own_config(text)
    with contextlib.suppress(HubError):
        spec = ModelSpec.from_json(text, "here")
        assert is_own
        assert ModelSpec.from_json(spec.to_json(), "here") == spec


def page(data):
    text = data.decode("utf-8", errors="replace")
    parsed = WebPage.parsed(text)
    assert (parsed is None) == (not text)


TARGETS = {each.__name__: each for each in (checkpoint, image, labels, config, page)}


def seeds(name):
    """Return small valid inputs of a target."""
    return {
        "checkpoint": _checkpoints,
        "image": _images,
        "labels": _images,
        "config": _configs,
        "page": _pages,
    }[name]()


def _checkpoints():
    weights = {"conv1.weight": torch.ones(2, 3), "bn.num_batches_tracked": torch.tensor(1)}
    contents = [weights, {"state_dict": weights, "epoch": 3}, {"model": dict(weights), "lr": [0.1]}]
    for legacy in (False, True):
        for content in contents:
            buffer = io.BytesIO()
            torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
            yield buffer.getvalue()
    yield save(weights)
    with zipfile.ZipFile(io.BytesIO(buffer.getvalue()), "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        yield archive.fp.getvalue()


def _images():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    for kind in ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "TGA", "AVIF"):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind)
        yield buffer.getvalue()
    for mode in ("1", "L", "P", "LA", "I;16", "RGBA"):
        buffer = io.BytesIO()
        Image.new(mode, (8, 8)).save(buffer, "PNG")
        yield buffer.getvalue()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", progressive=True)
    yield buffer.getvalue()


def _configs():
    spec = PartialSpec(config=VARIANTS["ddrnet_23_nano"], num_classes=2).complete()
    yield spec.to_json().encode()
    yield json.dumps({"architecture": "resnet50"}).encode()


def _pages():
    yield b"<!DOCTYPE html><html><head><title>Quota exceeded</title></head></html>"
    yield b'<html><form id="download-form" action="/x"><input name="id" value="a&amp;b"></form>'
