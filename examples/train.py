"""Train a DDRNet: one file for one device or many, whose runs resume exactly.

    python examples/train.py --model ddrnet_23 --lr 0.001 --epochs 50 --data-path ROOT
    torchrun --nproc-per-node 4 examples/train.py --recipe paper --data-path ROOT

The run's folder holds checkpoints to resume from, `best/` and `last/` for
`ddrnet.create_model("local-dir:...", True)`, `log.jsonl` and TensorBoard files.
"""

from __future__ import annotations

import logging
import math
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import accelerate
import building
import checkpoints
import numpy as np
import recipes
import timm
import torch
from filelock import FileLock, Timeout
from monitor import Monitor
from recipes import Settings
from timm.optim import create_optimizer_v2
from timm.scheduler import PolyLRScheduler
from timm.utils import ModelEmaV3
from torch import Tensor
from torch.utils.data import DataLoader, Sampler, Subset

import ddrnet
from ddrnet.data import Normalize

log = logging.getLogger("train")


class GlobalBatches(Sampler[list[int]]):
    """The sample numbers of this process's batches, a function of seed, epoch and position alone.

    The batches of all processes together are those of one process with a larger batch.
    """

    def __init__(self, samples: int, batch_size: int, rank: int, processes: int, seed: int) -> None:
        self.samples, self.batch_size, self.seed = samples, batch_size, seed
        self.rank, self.processes = rank, processes
        self.epoch = self.first = 0

    def __len__(self) -> int:
        return self.samples // (self.batch_size * self.processes)

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.samples).tolist()
        for batch in range(self.first, len(self)):
            start = (batch * self.processes + self.rank) * self.batch_size
            yield order[start : start + self.batch_size]


@dataclass
class Progress:
    """How far a run is: beside weights and optimizer, all that changes from step to step."""

    step: int = 0
    best: float = -math.inf
    losses: list[Tensor] = field(default_factory=list)  # since the last line of the log


class Run:
    """Everything that a run's settings determine before its first step."""

    def __init__(self, settings: Settings, accelerator: accelerate.Accelerator, init: str) -> None:
        self.settings, self.accelerator = settings, accelerator
        self.dataset = building.open_dataset(settings, training=True)
        self.network = building.build_model(settings, init, self.dataset)
        if accelerator.num_processes > 1:
            self.network = building.synchronise_batch_norm(self.network, accelerator.device)
        if settings.freeze_bn:
            ddrnet.freeze_batch_norm(self.network)
        layout = torch.channels_last if settings.channels_last else torch.contiguous_format
        self.to_device = partial(
            torch.Tensor.to, device=accelerator.device, non_blocking=True, memory_format=layout
        )
        self.network.to(accelerator.device, memory_format=layout)
        self.average = ModelEmaV3(self.network, settings.ema, use_warmup=True)
        self.evaluated: ddrnet.DDRNet = self.average.module
        groups = self.network.parameter_groups(
            settings.lr,
            head_factor=settings.head_factor,
            weight_decay=settings.weight_decay,
            decay_norm_and_bias=settings.decay_norm_and_bias,
        )
        optimizer = create_optimizer_v2(
            groups, settings.optimizer, settings.lr, momentum=settings.momentum
        )
        self.model, self.optimizer = accelerator.prepare(self.network, optimizer)
        self.normalize = Normalize.from_model(self.network).to(accelerator.device)
        self.criterion = building.build_criterion(settings, self.dataset).to(accelerator.device)
        self.batches = GlobalBatches(
            len(self.dataset),
            settings.batch_size,
            accelerator.process_index,
            accelerator.num_processes,
            settings.seed,
        )
        self.loader = DataLoader(
            self.dataset,
            batch_sampler=self.batches,
            num_workers=settings.workers,
            persistent_workers=settings.workers > 0,
            pin_memory=accelerator.device.type == "cuda",
            generator=torch.Generator(),  # so that reading draws nothing from torch's own
        )
        self.steps_per_epoch = len(self.batches) // settings.accumulation
        self.total_steps = settings.epochs * self.steps_per_epoch
        if not self.total_steps:
            raise ValueError(
                f"{len(self.dataset)} samples make no step of {self.samples_per_step} "
                f"(batch size x accumulation x processes) in {settings.epochs} epochs"
            )
        self.schedule = PolyLRScheduler(
            optimizer,
            self.total_steps,
            power=settings.power,
            warmup_t=settings.warmup_epochs * self.steps_per_epoch,
            t_in_epochs=False,
        )

    @property
    def samples_per_step(self) -> int:
        """Samples that all processes together see before the weights change."""
        settings = self.settings
        return settings.batch_size * settings.accumulation * self.accelerator.num_processes


def train(run: Run, progress: Progress, monitor: Monitor, interrupted: Callable[[], bool]) -> bool:
    """Train from where `progress` stands; returns whether the end was reached."""
    settings, accelerator = run.settings, run.accelerator
    loader = batches_from(run, progress.step)
    while progress.step < run.total_steps:
        progress.losses.append(train_step(run, loader, progress.step))
        progress.step += 1
        epoch, position = divmod(progress.step, run.steps_per_epoch)
        stop = accelerator.num_processes == 1 and interrupted()
        if progress.step % settings.log_every == 0 or position == 0:
            stop = report(run, progress, monitor, interrupted())
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


def train_step(run: Run, loader: Iterator[tuple[Tensor, Tensor]], step: int) -> Tensor:
    """Change the weights once; returns the loss without waiting for it."""
    run.schedule.step_update(step)
    losses = []
    for _ in range(run.settings.accumulation):
        images, labels = next(loader)
        images = run.normalize(run.to_device(images))
        labels = labels.to(run.accelerator.device, non_blocking=True)
        with run.accelerator.accumulate(run.model):
            loss = run.criterion(run.model(images), labels)
            run.accelerator.backward(loss)
            run.optimizer.step()
            run.optimizer.zero_grad()
        losses.append(loss.detach())
    if run.settings.ema:
        run.average.update(run.network, step + 1)
    return torch.stack(losses).mean()


def batches_from(run: Run, step: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield what remains of the epoch of `step`, then epoch after epoch."""
    epoch, position = divmod(step, run.steps_per_epoch)
    while True:
        run.dataset.set_epoch(epoch)
        run.batches.epoch, run.batches.first = epoch, position * run.settings.accumulation
        wanted = (run.steps_per_epoch - position) * run.settings.accumulation
        for _, batch in zip(range(wanted), run.loader, strict=False):
            yield batch
        epoch, position = epoch + 1, 0


def report(run: Run, progress: Progress, monitor: Monitor, interrupted: bool) -> bool:
    """Log the mean loss over steps and processes; returns whether any process was interrupted.

    Raises:
        FloatingPointError: If the loss is no number any more.
    """
    loss = torch.stack(progress.losses).mean()
    both = torch.stack([loss, loss.new_tensor(float(interrupted))])
    mean, stop = run.accelerator.reduce(both, "mean").tolist()
    progress.losses.clear()
    step, rate = progress.step, run.optimizer.param_groups[0]["lr"]
    if not math.isfinite(mean):
        raise FloatingPointError(
            f"the loss is {mean} at step {step}: resume from the last checkpoint with a lower "
            "--lr, or with --precision bf16 or no"
        )
    epoch = step / run.steps_per_epoch
    monitor.progress(step, run.total_steps, epoch, mean, rate, run.samples_per_step)
    return stop > 0


@torch.no_grad()
def validate(run: Run, progress: Progress, monitor: Monitor) -> None:
    """Score whole images at full resolution, each by one process, and keep the best weights."""
    accelerator, dataset = run.accelerator, building.open_dataset(run.settings, training=False)
    gather_evaluated(run)
    metrics = ddrnet.metrics.SegmentationMetrics(run.network.num_classes)
    own = range(accelerator.process_index, len(dataset), accelerator.num_processes)
    for index, (image, labels) in zip(
        own, DataLoader(Subset(dataset, own), None, num_workers=run.settings.workers), strict=True
    ):
        predicted = run.evaluated.predict(run.normalize(run.to_device(image[None])))
        metrics.update(predicted, labels[None].to(accelerator.device))
        if index < 3 and monitor.active:
            maps = predicted[0].cpu(), labels
            monitor.overlay(progress.step, index, image, maps, run.network.classes)
    metrics.sync()
    scores = metrics.compute()
    if scores.mean_iou > progress.best:
        progress.best = scores.mean_iou
        export(run, "best")
    names = [label.name for label in run.network.classes]
    monitor.scores(progress.step, scores, names, progress.best)


def gather_evaluated(run: Run) -> None:
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
    """Write a checkpoint: all that the next step depends on."""
    scaler = run.accelerator.scaler
    state = {
        "settings": asdict(run.settings),
        "steps_per_epoch": run.steps_per_epoch,
        "step": progress.step,
        "best": progress.best,
        "losses": [loss.cpu() for loss in progress.losses],
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
        ValueError: If its position means nothing here.
    """
    if state["steps_per_epoch"] != run.steps_per_epoch:
        raise ValueError(
            f"the checkpoint is of a run of {state['steps_per_epoch']} steps per epoch, this has "
            f"{run.steps_per_epoch}: resume with the same data, batch size, accumulation, processes"
        )
    run.network.load_state_dict(state["model"])
    run.evaluated.load_state_dict(state["evaluated"])
    run.optimizer.load_state_dict(state["optimizer"])
    if run.accelerator.scaler is not None and state["scaler"] is not None:
        run.accelerator.scaler.load_state_dict(state["scaler"])
    rank = run.accelerator.process_index
    if rank < len(state["generators"]):
        checkpoints.set_generator_states(state["generators"][rank])
    losses = [loss.to(run.accelerator.device) for loss in state["losses"]]
    return Progress(state["step"], state["best"], losses)


def start(settings: Settings, saved: dict[str, Any] | None) -> tuple[Run, Progress]:
    """Build a run, new or as a checkpoint holds it."""
    accelerate.utils.set_seed(settings.seed)
    accelerator = accelerate.Accelerator(
        cpu=settings.cpu or not torch.accelerator.is_available(),
        mixed_precision=settings.precision,
        gradient_accumulation_steps=settings.accumulation,
        step_scheduler_with_optimizer=False,
    )
    run = Run(settings, accelerator, "none" if saved else settings.init)
    return run, restore(run, saved) if saved else Progress()


def load(command: recipes.CommandLine) -> tuple[Settings, dict[str, Any] | None]:
    """Return the settings, and the checkpoint to resume from if there is to be one.

    Raises:
        FileExistsError: If a new run would write into the folder of another.
    """
    settings = command.settings()
    if command.resume is None:
        if checkpoints.exists(Path(settings.folder)):
            raise FileExistsError(
                f"{settings.folder} holds another run: --resume goes on with it, --output names "
                "a new folder"
            )
        return settings, None
    path, saved = checkpoints.read(Path(command.resume or settings.folder))
    settings = command.settings(saved["settings"] | {"output": str(path.parent)})
    changed = [name for name, old in saved["settings"].items() if asdict(settings)[name] != old]
    log.info("resuming from %s; changed settings: %s", path, ", ".join(changed) or "none")
    return settings, saved


def catch_signals() -> Callable[[], bool]:
    """Return whether Ctrl-C or a termination was asked for; asking twice ends at once."""
    caught: list[int] = []

    def remember(number: int, _: Any) -> None:
        caught.append(number)
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, remember)
    return lambda: bool(caught)


def header(run: Run) -> dict[str, Any]:
    """Return what the log says of a run: settings, versions, hardware."""
    device = run.accelerator.device
    return {
        "settings": asdict(run.settings),
        "versions": {each.__name__: each.__version__ for each in (ddrnet, torch, timm, accelerate)},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "processes": run.accelerator.num_processes,
        "threads": torch.get_num_threads(),
    }


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    main_process = int(os.environ.get("RANK", "0")) == 0
    logging.basicConfig(level=logging.INFO if main_process else logging.ERROR, format="%(message)s")
    command = recipes.parse(argv)
    if command.print_config:
        print(recipes.RECIPES[command.recipe].about, command.settings().to_json(), sep="\n")
        return 0
    with ExitStack() as stack:
        try:
            settings, saved = load(command)
            folder = Path(settings.folder)
            folder.mkdir(parents=True, exist_ok=True)
            if main_process:
                stack.enter_context(FileLock(folder / ".lock", timeout=0))
            run, progress = start(settings, saved)
        except Timeout:
            log.error("train.py: another process trains into %s", settings.folder)
            return 1
        except (ddrnet.DDRNetError, ValueError, OSError) as error:
            log.error("train.py: %s", error)
            return 1
        monitor = Monitor(folder, progress.step, run.accelerator.is_main_process, header(run))
        stack.callback(monitor.close)
        finished = train(run, progress, monitor, catch_signals())
    if finished:
        gather_evaluated(run)
        export(run, "last")
        return 0
    words = sys.argv[1:] if argv is None else argv
    given = [word for word in words if word != "--resume"]
    log.info("saved; go on with: %s", shlex.join(["python", sys.argv[0], *given, "--resume"]))
    return 130


if __name__ == "__main__":
    sys.exit(main())
