"""Train a DDRNet: one file for one device or many, whose runs resume exactly.

    python examples/train.py --model ddrnet_23 --lr 0.001 --epochs 50 --data-path ROOT
    torchrun --nproc-per-node 4 examples/train.py --recipe paper --data-path ROOT

What it is made of lies in the files beside it: recipes, building, batches, monitor, checkpoints,
interruption. The run's folder holds checkpoints to resume from, `best/` and `last/` for
`ddrnet.create_model("local-dir:...", True)`, `log.jsonl` and TensorBoard files.
"""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import accelerate
import building
import checkpoints
import recipes
import torch
from batches import Batches
from interruption import Interruption, go_on_command
from monitor import Monitor, header
from recipes import Settings
from timm.utils import ModelEmaV3
from torch import Tensor

import ddrnet
from ddrnet.data import Normalize, SegmentationDataset

log = logging.getLogger("train")


class Run:
    """Everything that a run's settings determine before its first step."""

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
        self.held_out = building.open_held_out(settings)
        self.layout = torch.channels_last if settings.channels_last else torch.contiguous_format
        network = building.build_network(settings, init, dataset.classes, accelerator)
        self.network = network.to(accelerator.device, memory_format=self.layout)
        self.average = ModelEmaV3(self.network, settings.ema, use_warmup=True)
        self.evaluated: ddrnet.DDRNet = self.average.module
        optimizer = building.build_optimizer(settings, self.network)
        self.model, self.optimizer = accelerator.prepare(self.network, optimizer)
        self.schedule = building.build_schedule(settings, optimizer, self.total_steps)
        self.normalize = Normalize.from_model(self.network).to(accelerator.device)
        self.criterion = building.build_criterion(settings, dataset).to(accelerator.device)


@dataclass
class Progress:
    """How far a run is: beside weights and optimizer, all that changes from step to step."""

    step: int = 0
    best: float = -math.inf
    losses: list[Tensor] = field(default_factory=list)  # since the last line of the log


def train(run: Run, progress: Progress, monitor: Monitor, interrupted: Callable[[], bool]) -> bool:
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
    """Whether something is to be done after `count`: every so often, if at all, and at the end."""
    return every > 0 and (count % every == 0 or count == last)


def train_step(run: Run, batches: Iterator[tuple[Tensor, Tensor]], step: int) -> Tensor:
    """Change the weights once; returns the loss without waiting for it."""
    run.schedule.step_update(step)
    device, losses = run.accelerator.device, []
    for _ in range(run.settings.accumulation):
        images, labels = next(batches)
        images = images.to(device, non_blocking=True, memory_format=run.layout)
        labels = labels.to(device, non_blocking=True)
        with run.accelerator.accumulate(run.model):
            loss = run.criterion(run.model(run.normalize(images)), labels)
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


def mean_losses(run: Run, progress: Progress) -> Tensor:
    """Return the losses that are not logged yet, each the mean over all processes.

    Raises:
        FloatingPointError: If one is no number.
    """
    losses: Tensor = run.accelerator.reduce(torch.stack(progress.losses), "mean").cpu()
    if not losses.isfinite().all():
        raise FloatingPointError(
            f"the loss is {losses.mean()} at step {progress.step}: resume from the last "
            "checkpoint with a lower --lr, or with --precision bf16 or no"
        )
    return losses


def validate(run: Run, progress: Progress, monitor: Monitor) -> None:
    """Score whole images at full resolution, each by one process, and keep the best weights."""
    assert run.held_out is not None, "validation is never due"
    update_evaluated(run)
    scores = ddrnet.evaluate(run.evaluated, run.held_out, num_workers=run.settings.workers)
    if scores.mean_iou > progress.best:
        progress.best = scores.mean_iou
        export(run, "best")
    names = [label.name for label in run.network.classes]
    monitor.scores(progress.step, scores, names, progress.best)
    for index in range(min(monitor.overlays, len(run.held_out))):
        image, labels = run.held_out[index]
        predicted = run.evaluated.predict(run.normalize(image[None].to(run.accelerator.device)))
        maps = predicted[0].cpu(), labels
        monitor.overlay(progress.step, index, image, maps, run.network.classes)


@torch.no_grad()
def update_evaluated(run: Run) -> None:
    """Bring the weights to validate up to date, and make them the same in every process."""
    if not run.settings.ema:
        run.evaluated.load_state_dict(run.network.state_dict())
    if run.accelerator.num_processes > 1:  # parameters are equal; statistics are each one's own
        for statistics in run.evaluated.buffers():
            accelerate.utils.broadcast(statistics)


def export(run: Run, name: str) -> None:
    """Write the validated weights as a folder that `ddrnet.create_model` loads."""
    if run.accelerator.is_main_process:
        model = run.evaluated.without_aux_head()
        model.upsample = True
        ddrnet.save_pretrained(model, Path(run.settings.folder) / name)


def save(run: Run, progress: Progress) -> None:
    """Write a checkpoint, all that the next step depends on, unless the loss is no number."""
    losses = mean_losses(run, progress) if progress.losses else torch.empty(0)
    scaler = run.accelerator.scaler
    state = {
        "settings": asdict(run.settings),
        "steps_per_epoch": run.batches.steps_per_epoch,
        "step": progress.step,
        "best": progress.best,
        "losses": list(losses),
        "model": run.network.state_dict(),
        "evaluated": run.evaluated.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "scaler": None if scaler is None else scaler.state_dict(),
        "generators": accelerate.utils.gather_object([checkpoints.generator_states()]),
    }
    if run.accelerator.is_main_process:
        checkpoints.write(Path(run.settings.folder), progress.step, state)


def restore(run: Run, state: dict[str, Any]) -> Progress:
    """Put a run into the state of a checkpoint.

    Raises:
        ValueError: If it is of another network, or its position means nothing here.
    """
    steps = run.batches.steps_per_epoch
    if state["steps_per_epoch"] != steps:
        raise ValueError(
            f"the checkpoint is of a run of {state['steps_per_epoch']} steps per epoch, this has "
            f"{steps}: resume with the same data, batch size, accumulation and processes"
        )
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
    checkpoints.restore_optimizer(run.optimizer, run.settings, state)
    if run.accelerator.scaler is not None and state["scaler"] is not None:
        run.accelerator.scaler.load_state_dict(state["scaler"])
    rank = run.accelerator.process_index
    if rank < len(state["generators"]):
        checkpoints.set_generator_states(state["generators"][rank])
    losses = [loss.to(run.accelerator.device) for loss in state["losses"]]
    return Progress(state["step"], state["best"], losses)


def start(command: recipes.CommandLine, stack: ExitStack, is_main: bool) -> tuple[Run, Progress]:
    """Build a run, new or as a checkpoint holds it, and keep others out of its folder."""
    settings, saved = checkpoints.load(command)
    accelerate.utils.set_seed(settings.seed)
    dataset = building.open_dataset(settings, training=True)
    settings = building.feasible(settings, command.given, dataset.classes)
    accelerator = building.build_accelerator(settings)
    run = Run(settings, accelerator, dataset, "none" if saved else settings.init)
    if is_main:
        stack.enter_context(checkpoints.lock(Path(settings.folder)))
    return run, restore(run, saved) if saved else Progress()


def is_finished(run: Run, progress: Progress) -> bool:
    """Whether nothing is left to do, nor to write."""
    return progress.step >= run.total_steps and (Path(run.settings.folder) / "last").exists()


def execute(command: recipes.CommandLine, is_main: bool) -> int:
    """Train to the end or an interruption; returns the exit code."""
    with ExitStack() as stack:
        run, progress = start(command, stack, is_main)
        if is_finished(run, progress):
            log.info("all %d steps are done; more --epochs go on", progress.step)
            run.accelerator.end_training()
            return 0
        first_line = header(run.settings, run.accelerator)
        monitor = Monitor(Path(run.settings.folder), progress.step, is_main, first_line)
        stack.callback(monitor.close)
        finished = train(run, progress, monitor, Interruption())
        if finished:
            update_evaluated(run)
            export(run, "last")
    run.accelerator.end_training()
    if not finished:
        log.info("saved; go on with: %s", go_on_command(run.settings.folder))
    return 0 if finished else 130


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    is_main = os.environ.get("RANK", "0") == "0"
    logging.basicConfig(level=logging.INFO if is_main else logging.ERROR, format="%(message)s")
    command = recipes.parse(argv)
    try:
        if command.print_config:
            resumed = command.resume is not None
            if not resumed:
                log.info(recipes.RECIPES[command.recipe].about)
            print((checkpoints.load(command)[0] if resumed else command.settings()).to_json())
            return 0
        return execute(command, is_main)
    except (ddrnet.DDRNetError, ValueError, OSError, FloatingPointError) as error:
        log.error("train.py: %s", error)
        return 1
    except KeyboardInterrupt:
        log.error("train.py: interrupted, nothing to save")
        return 130


if __name__ == "__main__":
    sys.exit(main())
