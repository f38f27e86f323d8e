"""Checkpoints of a run: written beside and renamed, verified when read, the last two kept."""

from __future__ import annotations

import hashlib
import io
import logging
import math
import os
import pickle
import random
import re
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from recipes import CommandLine, Settings
from torch.optim import Optimizer

import ddrnet

KEPT = 2
"""How many stay, so that there is one to fall back on."""

_ADJUSTABLE = {"weight_decay", "momentum"}
"""What a resumed run may set anew of its optimizer; the schedule sets the learning rate."""

_NAME = re.compile(r"checkpoint_(\d{9})-([0-9a-f]{16})\.pt")  # step, start of the SHA-256
_log = logging.getLogger("train")


def write(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Write the state after `step` steps; delete all but it and the one before.

    Later ones are of a run that went on from an earlier step: to resume would take them.

    Raises:
        OSError: If it cannot be written; those before stay.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getbuffer()
    path = folder / f"checkpoint_{step:09d}-{hashlib.sha256(data).hexdigest()[:16]}.pt"
    partial = folder / "checkpoint.partial"  # one name, so that what a kill left is replaced
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    everything = _of_run(folder)
    newest = everything.index(path)
    for old in (*everything[:newest], *everything[newest + KEPT :]):
        old.unlink(missing_ok=True)
    return path


def lock(folder: Path) -> AbstractContextManager[Any]:
    """Make a run's folder, and keep other runs out of it.

    Raises:
        OSError: If another process trains into it, or it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return FileLock(folder / ".lock").acquire(timeout=0)
    except Timeout as error:
        raise OSError(f"another process trains into {folder}") from error


def load(command: CommandLine) -> tuple[Settings, dict[str, Any] | None]:
    """Return the settings, and the checkpoint to resume from if there is to be one.

    Raises:
        FileExistsError: If it would write into the folder of another run.
        FileNotFoundError: If there is nothing to resume from.
        ddrnet.CheckpointError: If all that there is is damaged.
        ValueError: If the checkpoint is of another version's settings.
    """
    settings = command.settings()
    if command.resume is None:
        _check_vacant(Path(settings.folder))
        return settings, None
    path, saved = read(Path(command.resume or settings.folder))
    settings = command.settings(saved["settings"] | {"output": str(path.parent)})
    if Path(settings.folder).resolve() != path.parent.resolve():
        _check_vacant(Path(settings.folder))
        saved["best"] = -math.inf  # those weights stay where they are
    changed = [name for name, old in saved["settings"].items() if asdict(settings)[name] != old]
    _log.info("resuming from %s; changed settings: %s", path, ", ".join(changed) or "none")
    return settings, saved


def read(path: Path) -> tuple[Path, dict[str, Any]]:
    """Return a checkpoint and its contents; a damaged one is reported and the one before taken.

    Args:
        path: A checkpoint, or the folder of a run, whose newest one is meant.

    Raises:
        FileNotFoundError: If there is none.
        ddrnet.CheckpointError: If all are damaged.
    """
    folder = path if path.is_dir() else path.parent
    candidates = _of_run(folder)
    if not path.is_dir() and path in candidates:
        candidates = candidates[candidates.index(path) :]
    elif not path.is_dir() or not candidates:
        raise FileNotFoundError(
            f"no checkpoint to resume from: {path}; expected the folder of a run, or one of the "
            "checkpoint_*.pt in it under the name it was given"
        )
    for candidate in candidates:
        try:
            return candidate, _verified(candidate)
        except (ValueError, OSError, RuntimeError, pickle.UnpicklingError) as error:
            _log.warning("%s is damaged (%s); trying the one before", candidate, error)
    raise ddrnet.CheckpointError(f"every checkpoint of {folder} is damaged: start anew")


def generator_states() -> dict[str, Any]:
    """Return the states of all generators of this process."""
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, keys.tolist(), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def set_generator_states(states: dict[str, Any]) -> None:
    """Put all generators of this process into the states of `generator_states`."""
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    for device, state in enumerate(states["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(state, device)


def restore_optimizer(optimizer: Optimizer, settings: Settings, saved: dict[str, Any]) -> None:
    """Put an optimizer into the state of a checkpoint, except for what the settings set anew.

    Raises:
        ValueError: If the state is of another optimizer, or of other groups of parameters.
    """
    for name in ("optimizer", "decay_norm_and_bias"):
        old, new = saved["settings"][name], getattr(settings, name)
        if old != new:
            raise ValueError(
                f"the checkpoint is of a run with {name} {old}, this has {new}: resume with the "
                "same, or start a new run from its weights with --init"
            )
    wanted = [{k: group[k] for k in _ADJUSTABLE & group.keys()} for group in optimizer.param_groups]
    optimizer.load_state_dict(saved["optimizer"])
    for group, values in zip(optimizer.param_groups, wanted, strict=True):
        group.update(values)


def _check_vacant(folder: Path) -> None:
    if _of_run(folder) or any((folder / name).exists() for name in ("best", "last")):
        raise FileExistsError(
            f"{folder} holds another run: --resume {folder} goes on with it, --output names a new "
            "folder"
        )


def _of_run(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, newest first."""
    return sorted((p for p in folder.glob("*.pt") if _NAME.fullmatch(p.name)), reverse=True)


def _verified(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    match = _NAME.fullmatch(path.name)
    assert match is not None
    if hashlib.sha256(data).hexdigest()[:16] != match[2]:
        raise ValueError(f"{len(data)} bytes that do not have the checksum in its name")
    state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return state
