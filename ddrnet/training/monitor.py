"""The progress line, log, TensorBoard files and charts of a run."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any, TextIO

import accelerate
import numpy as np
import psutil
import timm
import torch
from PIL import Image
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from ddrnet import __version__, visualize
from ddrnet.files import write_atomically
from ddrnet.labels import ClassLabel
from ddrnet.outputs import SegmentationScores
from ddrnet.training.charts import draw_classes, draw_confusion, draw_curves
from ddrnet.training.settings import Settings


class Monitor:
    """Writes log, TensorBoard files and charts into a run's folder; silent unless `active`.

    Args:
        folder: The run's folder.
        step: Steps done so far; lines of later steps, logged by an earlier process, are removed.
        active: Whether this is the main process.
        header: The first line of the log, repeated at each resume: settings, versions, hardware.
    """

    def __init__(self, folder: Path, step: int, active: bool, header: dict[str, Any]) -> None:
        self.active = active
        self.overlays = 3 if active else 0  # images to show at each validation
        self._started = self._marked = time.perf_counter()
        self._first_step = self._marked_step = step
        self._line_open = False
        if not active:
            return
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._log = _opened(folder / "log.jsonl", step)
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
        self._write(header)

    def close(self) -> None:
        """End the progress line, draw the curves and close the files."""
        if not self.active:
            return
        if self._line_open:
            print(file=sys.stderr)
        self._log.close()
        self._board.close()
        draw_curves(self._folder / "curves.png", [self._folder / "log.jsonl"])

    def progress(
        self, step: int, total: int, epoch: float, loss: float, lr: float, images_per_step: int
    ) -> None:
        """Report the mean loss since the last call, and the speed."""
        now = time.perf_counter()
        steps = step - self._marked_step
        speed = steps * images_per_step / max(now - self._marked, 1e-9)
        pace = (now - self._started) / max(step - self._first_step, 1)
        eta = timedelta(seconds=round((total - step) * pace))
        self._marked, self._marked_step = now, step
        if not self.active:
            return
        row = {"epoch": round(epoch, 4), "loss": loss, "lr": lr, "images_per_second": speed}
        self._write({"step": step, **row, "memory_gib": memory_gib()})
        for name in ("loss", "lr", "images_per_second"):
            self._board.add_scalar(f"train/{name}", row[name], step)
        self._show(
            f"step {step}/{total}  epoch {epoch:.2f}  loss {loss:.4f}  lr {lr:.2e}  "
            f"{speed:.1f} images/s  {memory_gib():.1f} GiB  ETA {eta}"
        )

    def note(self, step: int, text: str) -> None:
        """Write an explanation into the log, and show it."""
        if self.active:
            self._write({"step": step, "note": text})
            self._show(text, end="\n")

    def scores(
        self, step: int, scores: SegmentationScores, classes: Sequence[ClassLabel], best: float
    ) -> None:
        """Report a validation and draw its charts."""
        if not self.active:
            return
        iou = dict(zip([row.name for row in classes], scores.iou.tolist(), strict=True))
        shown = {name: value for name, value in iou.items() if value == value}  # NaN is not JSON
        self._write({"step": step, "mean_iou": scores.mean_iou, "best": best, "iou": shown})
        self._board.add_scalar("val/mean_iou", scores.mean_iou, step)
        for name, value in shown.items():
            self._board.add_scalar(f"val_iou/{name}", value, step)
        self._show(f"step {step}  val mean IoU {scores.mean_iou:.4f}  best {best:.4f}", end="\n")
        draw_curves(self._folder / "curves.png", [self._folder / "log.jsonl"])
        draw_classes(self._folder / "classes.png", scores, classes)
        draw_confusion(self._folder / "confusion.png", scores, classes)
        self._marked = time.perf_counter()

    def overlay(
        self,
        step: int,
        index: int,
        image: Tensor,
        labels: Sequence[Tensor],
        classes: Sequence[ClassLabel],
    ) -> None:
        """Show label maps, (H, W), side by side over an image, (3, H, W) uint8."""
        pictures = [visualize.overlay(image, each, classes) for each in labels]
        for picture in pictures:
            picture.thumbnail((768, 768), Image.Resampling.BILINEAR)
        row = np.concatenate([np.asarray(picture) for picture in pictures], axis=1)
        self._board.add_image(f"val/{index}: predicted, true", row, step, dataformats="HWC")
        self._marked = time.perf_counter()

    def _write(self, row: dict[str, Any]) -> None:
        numbers = {name: value for name, value in row.items() if isinstance(value, float)}
        undefined = {name: None for name, value in numbers.items() if not math.isfinite(value)}
        self._log.write(json.dumps(row | undefined) + "\n")
        self._log.flush()

    def _show(self, text: str, end: str = "") -> None:
        self._line_open = sys.stderr.isatty() and not end
        if sys.stderr.isatty():
            print(f"\r\033[K{text}", end=end, file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)


def header(settings: Settings, accelerator: accelerate.Accelerator) -> dict[str, Any]:
    """Return the first line of the log: settings, versions, hardware."""
    device = accelerator.device
    return {
        "settings": asdict(settings),
        "versions": {
            "ddrnet": __version__,
            **{each.__name__: each.__version__ for each in (torch, timm, accelerate)},
        },
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "processes": accelerator.num_processes,
        "threads": torch.get_num_threads(),
    }


def memory_gib() -> float:
    """Return the peak GPU memory of this process, or on a CPU its present memory, in GiB."""
    on_gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    return float(on_gpu or psutil.Process().memory_info().rss) / 2**30


def _opened(path: Path, step: int) -> TextIO:
    """Open a log for appending, without lines of steps after `step` and half lines."""
    lines = path.read_text().splitlines() if step and path.exists() else []
    kept = "".join(f"{line}\n" for line in lines if _step_of(line) <= step)
    write_atomically(path, kept.encode())
    return path.open("a")


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line).get("step", 0))
    except json.JSONDecodeError:
        return float("inf")
