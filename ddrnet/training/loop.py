"""The training loop: one for one device or many, whose runs resume exactly."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import accelerate
import torch
from timm.utils import ModelEmaV3
from torch import Tensor

from ddrnet.data import Normalize, SegmentationDataset
from ddrnet.evaluation import evaluate
from ddrnet.files import StrPath
from ddrnet.network import DDRNet
from ddrnet.pretrained.saving import save_pretrained
from ddrnet.training import building, run_checkpoints
from ddrnet.training.batches import Batches
from ddrnet.training.defaults import fitted
from ddrnet.training.interruption import Interruption, resume_command
from ddrnet.training.monitor import Monitor, header
from ddrnet.training.settings import Settings
from ddrnet.training.teacher import build_teacher

logger = logging.getLogger(__name__)

FEW_STEPS = 200
"""Below, a new head is hardly trained: three classes of flat colours need about a hundred steps."""


class Run:
    """The parts of a run, built from its settings before the first step."""

    def __init__(
        self,
        settings: Settings,
        accelerator: accelerate.Accelerator,
        dataset: SegmentationDataset,
        init: str,
    ) -> None:
        self.settings, self.accelerator = settings, accelerator
        self.batches = Batches(dataset, settings, accelerator)
        self.total_steps = settings.epochs * self.batches.steps_per_epoch
        self.held_out: SegmentationDataset | None = None
        if settings.validate_every:
            self.held_out = building.open_dataset(settings, training=False)
            logger.info("validating on %s", self.held_out)
        self.layout = torch.channels_last if settings.channels_last else torch.contiguous_format
        network = building.build_network(settings, init, dataset.classes, accelerator)
        self.network = network.to(accelerator.device).to(memory_format=self.layout)
        self.average = ModelEmaV3(self.network, settings.ema, use_warmup=True)
        self.evaluated: DDRNet = self.average.module
        optimizer = building.build_optimizer(settings, self.network)
        self.model, self.optimizer = accelerator.prepare(self.network, optimizer)
        self.schedule = building.build_schedule(settings, optimizer, self.total_steps)
        self.normalize = Normalize.from_model(self.network).to(accelerator.device)
        self.criterion = building.build_criterion(settings, dataset).to(accelerator.device)
        self.teacher = build_teacher(settings, dataset.classes, accelerator)


@dataclass
class Progress:
    """The state of a run besides weights and optimizer."""

    step: int = 0
    best: float = -math.inf
    losses: list[Tensor] = field(default_factory=list)  # since the last line of the log
    is_new: bool = True  # until the first line of the log


def train(settings: Settings) -> Path:
    """Train a new run to its end; see `ddrnet.training.train`."""
    run_checkpoints.check_vacant(Path(settings.folder))
    return _execute(settings, None)


def resume(path: StrPath, changes: Mapping[str, Any]) -> Path:
    """Continue a run to its end; see `ddrnet.training.resume`."""
    return _execute(*run_checkpoints.load(Path(path), changes))


def _execute(settings: Settings, saved: dict[str, Any] | None) -> Path:
    folder = Path(settings.folder)
    with ExitStack() as stack:
        run, progress = start(settings, saved)
        stack.callback(run.accelerator.end_training)
        if progress.step >= run.total_steps and (folder / "last").exists():
            logger.info("all %d steps are done; a higher --epochs continues", progress.step)
            return folder
        is_main = run.accelerator.is_main_process
        if is_main:
            stack.enter_context(run_checkpoints.lock(folder))
        first_line = header(run.settings, run.accelerator)
        monitor = Monitor(folder, progress.step, is_main, first_line)
        stack.callback(monitor.close)
        interrupted = stack.enter_context(Interruption())
        if not take_steps(run, progress, monitor, interrupted):
            logger.info("saved; continue with: %s", resume_command(run.settings.folder))
            raise KeyboardInterrupt
        update_evaluated(run)
        export(run, "last")
    return folder


def start(settings: Settings, saved: dict[str, Any] | None = None) -> tuple[Run, Progress]:
    """Build a run, new or in the state of a checkpoint."""
    accelerate.utils.set_seed(settings.seed)
    dataset = building.open_dataset(settings, training=True)
    settings = fitted(settings, dataset)
    dataset.transforms = building.augmentation(settings)
    accelerator = building.build_accelerator(settings)
    processes, device = accelerator.num_processes, accelerator.device.type
    logger.info("%s on %s, processes: %d (%s)", settings.model, dataset, processes, device)
    run = Run(settings, accelerator, dataset, "none" if saved else settings.init)
    if run.total_steps < FEW_STEPS:
        logger.warning(
            "%d steps in all (%d per epoch) are few for a new head: raise --epochs or lower "
            "--batch-size",
            run.total_steps,
            run.batches.steps_per_epoch,
        )
    return run, restore(run, saved) if saved else Progress()


def take_steps(
    run: Run, progress: Progress, monitor: Monitor, interrupted: Callable[[], bool]
) -> bool:
    """Train from where `progress` stands; returns whether the end was reached."""
    settings, batches = run.settings, run.batches.after(progress.step)
    while progress.step < run.total_steps:
        progress.losses.append(train_step(run, batches, progress.step))
        progress.step += 1
        epoch, position = divmod(progress.step, run.batches.steps_per_epoch)
        stop = interrupted()
        if position == 0 or is_due(progress.step, settings.log_every):
            report(run, progress, monitor)
        if position == 0 and is_due(epoch, settings.validate_every, settings.epochs):
            validate(run, progress, monitor)
        if position == 0 or stop or is_due(position, settings.save_every):
            save(run, progress)
        if stop and progress.step < run.total_steps:
            return False
    return True


def is_due(count: int, every: int, last: int = 0) -> bool:
    """Whether `count` is a multiple of `every`, or is `last`; never where `every` is 0."""
    return every > 0 and (count % every == 0 or count == last)


def train_step(run: Run, batches: Iterator[tuple[Tensor, Tensor]], step: int) -> Tensor:
    """Change the weights once; returns the loss without waiting for it."""
    run.schedule.step_update(step)
    device, losses = run.accelerator.device, []
    for _ in range(run.settings.accumulation):
        images, labels = next(batches)  # (N, 3, H, W) uint8, (N, H, W) uint8
        images = images.to(device, non_blocking=True, memory_format=run.layout)
        labels = labels.to(device, non_blocking=True)
        with run.accelerator.accumulate(run.model):
            output = run.model(run.normalize(images))
            loss = run.criterion(output, labels)
            if run.teacher is not None:
                loss = loss + run.teacher.loss(images, output)
            run.accelerator.backward(loss)
            run.optimizer.step()
            run.optimizer.zero_grad()
        losses.append(loss.detach())
    if run.settings.ema:
        run.average.update(run.network, step + 1)
    return torch.stack(losses).mean()


def report(run: Run, progress: Progress, monitor: Monitor) -> None:
    """Log the mean of the losses since the last line."""
    loss, rate = float(mean_losses(run, progress).mean()), run.optimizer.param_groups[0]["lr"]
    progress.losses.clear()
    epoch = progress.step / run.batches.steps_per_epoch
    samples = run.batches.samples_per_step
    monitor.progress(progress.step, run.total_steps, epoch, loss, rate, samples)
    weights = 1 + run.settings.aux_weight
    if run.teacher is not None:
        weights += run.settings.distill_weight * run.settings.temperature**2
    guessing = weights * math.log(run.network.num_classes)
    if progress.is_new and loss > guessing:
        monitor.note(
            progress.step,
            f"a loss above {guessing:.1f}, that of guessing among {run.network.num_classes} "
            "classes, is normal in the first steps of a new head",
        )
    progress.is_new = False


def mean_losses(run: Run, progress: Progress) -> Tensor:
    """Return the losses that are not logged yet, each the mean over all processes.

    Raises:
        FloatingPointError: If one of them is not finite.
    """
    losses: Tensor = run.accelerator.reduce(torch.stack(progress.losses), "mean").cpu()
    if not losses.isfinite().all():
        raise FloatingPointError(
            f"the loss is {losses.mean()} at step {progress.step}: resume from the last "
            "checkpoint with a lower --lr, or with --precision bf16 or no"
        )
    return losses


def validate(run: Run, progress: Progress, monitor: Monitor) -> None:
    """Score whole images at full resolution, each in one process, and keep the best weights."""
    assert run.held_out is not None, "validation is never due"
    update_evaluated(run)
    scores = evaluate(run.evaluated, run.held_out, num_workers=run.settings.workers)
    if scores.mean_iou > progress.best:
        progress.best = scores.mean_iou
        export(run, "best")
    monitor.scores(progress.step, scores, run.network.classes, progress.best)
    for index in range(min(monitor.overlays, len(run.held_out))):
        image, labels = run.held_out[index]
        predicted = run.evaluated.predict(run.normalize(image[None].to(run.accelerator.device)))
        maps = predicted[0].cpu(), labels
        monitor.overlay(progress.step, index, image, maps, run.network.classes)


@torch.no_grad()
def update_evaluated(run: Run) -> None:
    """Update the weights to validate, and make them equal in every process."""
    if not run.settings.ema:
        run.evaluated.load_state_dict(run.network.state_dict())
    if run.accelerator.num_processes > 1:
        # Parameters are equal already; BatchNorm's statistics differ between processes.
        for statistics in run.evaluated.buffers():
            accelerate.utils.broadcast(statistics)


def export(run: Run, name: str) -> None:
    """Write the validated weights as a folder that `ddrnet.create_model` loads."""
    if run.accelerator.is_main_process:
        save_pretrained(run.evaluated, Path(run.settings.folder) / name)


def save(run: Run, progress: Progress) -> None:
    """Write a checkpoint with all the state that the next step depends on.

    Raises:
        FloatingPointError: If a loss is not finite; nothing is written.
    """
    losses = mean_losses(run, progress) if progress.losses else torch.empty(0)
    scaler = run.accelerator.scaler
    state = {
        "settings": asdict(run.settings),
        "steps_per_epoch": run.batches.steps_per_epoch,
        "step": progress.step,
        "best": progress.best,
        "losses": list(losses),
        "teacher": None if run.teacher is None else run.teacher.fingerprint,
        "model": run.network.state_dict(),
        "evaluated": run.evaluated.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "scaler": None if scaler is None else scaler.state_dict(),
        "generators": accelerate.utils.gather_object([run_checkpoints.generator_states()]),
    }
    if run.accelerator.is_main_process:
        run_checkpoints.write(Path(run.settings.folder), progress.step, state)


def restore(run: Run, state: dict[str, Any]) -> Progress:
    """Put a run into the state of a checkpoint.

    Raises:
        ValueError: If the checkpoint belongs to another network or another number of steps.
    """
    steps = run.batches.steps_per_epoch
    if state["steps_per_epoch"] != steps:
        raise ValueError(
            f"the checkpoint has {state['steps_per_epoch']} steps per epoch, this run has {steps}: "
            "resume with the same data, batch size, accumulation and processes"
        )
    if state["step"] > run.total_steps:
        raise ValueError(
            f"--epochs {run.settings.epochs}: {state['step'] / steps:g} epochs are done already; "
            "pass a higher number, or resume from an earlier checkpoint"
        )
    if run.teacher is not None:
        run.teacher.check_resumed(run.settings, state)
    try:
        run.network.load_state_dict(state["model"])
        run.evaluated.load_state_dict(state["evaluated"])
    except RuntimeError as error:
        raise ValueError(
            f"the checkpoint does not fit {run.settings.model} of {run.network.num_classes} "
            "classes: resume with the same model, data and auxiliary head"
        ) from error
    if run.settings.ema and not state["settings"]["ema"]:
        run.evaluated.load_state_dict(state["model"])  # the average begins here
    run_checkpoints.restore_optimizer(run.optimizer, run.settings, state)
    if run.accelerator.scaler is not None and state["scaler"] is not None:
        run.accelerator.scaler.load_state_dict(state["scaler"])
    rank = run.accelerator.process_index
    if rank < len(state["generators"]):
        run_checkpoints.set_generator_states(state["generators"][rank])
    losses = [loss.to(run.accelerator.device) for loss in state["losses"]]
    return Progress(state["step"], state["best"], losses, is_new=False)
