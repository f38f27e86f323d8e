"""Checkpoints of a run: written atomically, verified when read, the last two kept."""

from __future__ import annotations

import hashlib
import io
import logging
import math
import pickle
import random
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch.optim import Optimizer

from ddrnet.errors import CheckpointError
from ddrnet.files import PARTIAL, write_atomically
from ddrnet.training.settings import Settings

KEPT = 2
"""Number of checkpoints in a folder; the older one is the fallback if the newer is damaged."""

DAMAGED = ".damaged"
"""Suffix of checkpoints that were found damaged; they are kept, but no longer counted."""

_ADJUSTABLE = {"weight_decay", "momentum"}
"""Optimizer options that a resumed run may change; the schedule sets the learning rate."""

_NAME = re.compile(r"checkpoint_(\d{9})-([0-9a-f]{16})\.pt")  # step, start of the SHA-256
logger = logging.getLogger(__name__)


def write(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Write the state after `step` steps and delete all but the newest two checkpoints.

    Checkpoints of later steps are deleted too: they belong to a run that this one replaces.

    Raises:
        OSError: If the checkpoint cannot be written; the older ones stay.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getbuffer()
    path = folder / f"checkpoint_{step:09d}-{hashlib.sha256(data).hexdigest()[:16]}.pt"
    folder.mkdir(parents=True, exist_ok=True)
    for partial in folder.glob(f".checkpoint_*{PARTIAL}"):  # left behind by a killed process
        partial.unlink(missing_ok=True)
    write_atomically(path, data)
    everything = _of_run(folder)
    newest = everything.index(path)
    for old in (*everything[:newest], *everything[newest + KEPT :]):
        old.unlink(missing_ok=True)
    return path


def lock(folder: Path) -> AbstractContextManager[Any]:
    """Create a run's folder and keep other runs out of it.

    Raises:
        OSError: If another process trains into it, or it cannot be created.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return FileLock(folder / ".lock").acquire(timeout=0)
    except Timeout as error:
        raise OSError(f"another process trains into {folder}") from error


def load(path: Path, changes: Mapping[str, Any]) -> tuple[Settings, dict[str, Any]]:
    """Return the settings of a run, with changes, and its newest intact checkpoint.

    Args:
        path: The run's folder, or one of its checkpoints.
        changes: Settings that replace those of the run.

    Raises:
        FileExistsError: If the changed output folder holds another run.
        FileNotFoundError: If there is no checkpoint.
        CheckpointError: If every checkpoint is damaged.
        ValueError: If the checkpoint holds settings that this version does not know.
    """
    path, saved = read(path)
    before = saved["settings"] | {"output": str(path.parent)}
    settings = Settings().changed(before).changed(changes)
    if Path(settings.folder).resolve() != path.parent.resolve():
        check_vacant(Path(settings.folder))
        saved["best"] = -math.inf  # the best weights so far stay in the old folder
    now = asdict(settings)
    changed = [name for name, old in before.items() if now[name] != old]
    logger.info("resuming from %s; changed settings: %s", path, ", ".join(changed) or "none")
    return settings, saved


def read(path: Path) -> tuple[Path, dict[str, Any]]:
    """Return the newest intact checkpoint and its contents; damaged ones are set aside.

    Args:
        path: The folder of a run, or a checkpoint to begin at.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        CheckpointError: If every checkpoint is damaged.
    """
    folder = path if path.is_dir() else path.parent
    candidates = _of_run(folder)
    if not path.is_dir() and path in candidates:
        candidates = candidates[candidates.index(path) :]
    elif not path.is_dir() or not candidates:
        raise FileNotFoundError(
            f"no checkpoint to resume from: {path}; expected the folder of a run, or a "
            "checkpoint_*.pt with its original name"
        )
    for candidate in candidates:
        try:
            return candidate, _verified(candidate)
        except OSError as error:
            logger.warning("%s cannot be read (%s); trying the previous one", candidate, error)
        except (ValueError, RuntimeError, pickle.UnpicklingError) as error:
            # Under its name, it would count as one of the newest and drive an intact one out.
            with suppress(OSError):  # another process does the same, or the folder is read-only
                candidate.rename(candidate.with_name(f"{candidate.name}{DAMAGED}"))
            logger.warning(
                "%s is damaged (%s) and is now called *%s; trying the previous one",
                candidate,
                error,
                DAMAGED,
            )
    raise CheckpointError(f"every checkpoint of {folder} is damaged: start a new run")


def generator_states() -> dict[str, Any]:
    """Return the states of all random generators of this process."""
    state: Any = np.random.get_state()
    name, keys, *rest = state
    on_gpu = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # torch lacks types
    return {
        "python": random.getstate(),
        "numpy": (name, keys.tolist(), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if on_gpu else [],
    }


def set_generator_states(states: dict[str, Any]) -> None:
    """Restore what `generator_states` returned."""
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    for device, state in enumerate(states["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(state, device)


def restore_optimizer(optimizer: Optimizer, settings: Settings, saved: dict[str, Any]) -> None:
    """Restore an optimizer; weight decay and momentum stay as the settings say.

    Raises:
        ValueError: If the checkpoint has another optimizer or other parameter groups.
    """
    for name in ("optimizer", "decay_norm_and_bias"):
        old, new = saved["settings"][name], getattr(settings, name)
        if old != new:
            raise ValueError(
                f"the checkpoint has {name} {old}, this run has {new}: resume with the same, or "
                "start a new run from its weights with --init"
            )
    wanted = [{k: group[k] for k in _ADJUSTABLE & group.keys()} for group in optimizer.param_groups]
    optimizer.load_state_dict(saved["optimizer"])
    for group, values in zip(optimizer.param_groups, wanted, strict=True):
        group.update(values)


def has_checkpoint(folder: Path) -> bool:
    """Return whether a folder holds a checkpoint, intact or not."""
    return bool(_of_run(folder))


def check_vacant(folder: Path) -> None:
    """Refuse to overwrite another run.

    Raises:
        FileExistsError: If the folder holds checkpoints or weights of a run.
    """
    if _of_run(folder) or any((folder / name).exists() for name in ("best", "last")):
        raise FileExistsError(
            f"{folder} holds another run: --resume {folder} continues it, --output names another "
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
        raise ValueError(f"{len(data)} bytes whose checksum is not the one in the name")
    state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return state
