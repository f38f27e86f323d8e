"""Training: settings and recipes, one loop for one device or many, exact resume.

`ddrnet train` is the command line of this room. Importing it loads no torch; training needs the
extra `train`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ddrnet.errors import DDRNetError
from ddrnet.files import StrPath
from ddrnet.training.recipes import RECIPES, Recipe
from ddrnet.training.settings import Settings

__all__ = ["RECIPES", "Recipe", "Settings", "resume", "train"]

_EXTRA = ("accelerate", "matplotlib", "psutil", "tensorboard")


def train(settings: Settings) -> Path:
    """Train a new run to its end.

    Under `torchrun` or `accelerate launch` every process calls it. Ctrl-C and SIGTERM save a
    checkpoint after the current step.

    Returns:
        The run's folder: `best` and `last` are model folders for
        `ddrnet.create_model("local-dir:FOLDER/best", True)`.

    Raises:
        ValueError: If settings contradict each other, the data or the device.
        DDRNetError: If the data set or the weights cannot be read, or the extra is missing.
        FileExistsError: If the folder holds another run.
        FloatingPointError: If the loss is not finite.
        KeyboardInterrupt: If the run was interrupted, after its checkpoint was saved.
    """
    folder: Path = _loop().train(settings)
    return folder


def resume(path: StrPath, **changes: Any) -> Path:
    """Continue a run from its newest checkpoint, or from one that is named, to its end.

    Args:
        path: The run's folder, or one of its checkpoints.
        changes: Settings that replace those of the run, such as `epochs=300`.

    Returns:
        The run's folder.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        CheckpointError: If every checkpoint is damaged.
        ValueError: If the changed settings do not fit the checkpoint; all errors of `train` too.
    """
    folder: Path = _loop().resume(path, changes)
    return folder


def _loop() -> Any:
    """Import the loop, which loads torch.

    Raises:
        DDRNetError: If a package of the extra is not installed.
    """
    try:
        from ddrnet.training import loop
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA:
            raise
        raise DDRNetError(
            f'training needs {missing}, which is not installed: pip install "ddrnet[train]"'
        ) from error
    return loop
