"""Checkpoint files as the three families publish them, with formula weights inside."""

import io
import sys
import types
from contextlib import contextmanager
from functools import cache

import golden_data
import torch


def row_file(row):
    """The bytes of a checkpoint like the one that `row` lists."""
    return _row_file(row.model, row.family, row.task, row.tag)


@cache
def _row_file(model, family, task, tag):
    if family == "official" and task == "segmentation":
        return official_file(model)
    if family == "official":
        state = random_state(golden_data.keys("official")[f"{model}.classification"])
        return saved({"state_dict": state, "epoch": 300} if tag == "in1k_timm" else state)
    shapes = golden_data.keys(family)[model]
    if task == "backbone":
        return saved(
            random_state(
                {
                    key.removeprefix("backbone."): shape
                    for key, shape in shapes.items()
                    if key.startswith("backbone.") and not key.startswith("backbone.spp.")
                }
            )
        )
    state = golden_data.state_dict(shapes)
    return mmseg_file(state) if family == "mmseg" else supergradients_file(state)


@cache
def official_file(model):
    """HRNet's `FullModel`: every key begins with `model.`, and the loss has its class weights."""
    state = golden_data.state_dict(golden_data.keys("official")[model])
    content = {f"model.{key}": tensor for key, tensor in state.items()}
    return saved({**content, "loss.criterion.weight": torch.ones(19)})


def mmseg_file(state):
    """mmengine's runner: `message_hub` holds objects of a class that is not installed."""
    with foreign_class("mmengine.logging.history_buffer", "HistoryBuffer") as history_buffer:
        history = history_buffer()
        history.__dict__.update(_max_length=1_000_000, _log_history=[1.0, 0.5])
        content = {
            "meta": {"cfg": "model = dict()", "dataset_meta": {"classes": ("road",)}},
            "state_dict": state,
            "message_hub": {"log_scalars": {"train/loss": history}},
            "param_schedulers": [{"last_step": 120_000}],
        }
        return saved(content)


def supergradients_file(state):
    """super-gradients' trainer: the averaged network stands beside the last one."""
    last = {key: torch.zeros(()).expand(tensor.shape) for key, tensor in state.items()}
    return saved(
        {
            "net": last,
            "ema_net": {f"module.{key}": tensor for key, tensor in state.items()},
            "acc": 0.8,
            "epoch": 499,
            "metrics": {"valid": {"IoU": 0.8}},
            "packages": {"torch": "1.11.0"},
            "processing_params": {"image_processor": [["StandardizeImage", {"max_value": 255}]]},
        }
    )


def random_state(shapes):
    """Tensors that differ from each other; nothing was ever computed with them."""
    return {key: torch.rand(shape) for key, shape in shapes.items()}


def saved(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@contextmanager
def foreign_class(module, name):
    """A class of a package that nobody has installed, while a file is written."""
    parts = module.split(".")
    paths = [".".join(parts[: end + 1]) for end in range(len(parts))]
    for path in paths:
        sys.modules[path] = types.ModuleType(path)
    made = type(name, (), {"__module__": module})
    setattr(sys.modules[module], name, made)
    try:
        yield made
    finally:
        for path in paths:
            del sys.modules[path]
