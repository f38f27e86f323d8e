"""Train a DDRNet on Cityscapes, CamVid or your own folder: the reference loop.

    python examples/train.py --model ddrnet_23 --lr 0.001 --epochs 50 --data-path ROOT
    torchrun --nproc-per-node 4 examples/train.py --data-path ROOT

`ddrnet train` does the same with recipes, exact resume, averaged weights and charts.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.optim.lr_scheduler import PolynomialLR
from torch.utils.data import DataLoader

import ddrnet

LOG_EVERY = 20  # steps


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "--model",
        default="ddrnet_23_slim",
        help="a size, which starts from ImageNet weights where they exist, or NAME.TAG",
    )
    parser.add_argument("--data-path", type=Path, required=True, help="the data set's folder")
    parser.add_argument("--output", type=Path, default=Path("runs/example"), help="results")
    parser.add_argument("--epochs", type=int, default=250, help="passes over the data")
    parser.add_argument("--batch-size", type=int, default=5, help="crops per process")
    parser.add_argument("--crop-size", type=int, default=1024, help="side of a crop in pixels")
    parser.add_argument("--lr", type=float, default=0.003, help="initial learning rate")
    parser.add_argument("--workers", type=int, default=4, help="loader processes")
    parser.add_argument("--cpu", action="store_true", help="use no accelerator")
    return parser.parse_args()


def build_model(name: str, classes: tuple[ddrnet.ClassLabel, ...]) -> ddrnet.DDRNet:
    """Return a model of these classes with the best weights to start from."""
    if f"{name}.in1k" in ddrnet.list_models(pretrained=True):
        name = f"{name}.in1k"
    model = ddrnet.create_model(name, pretrained="." in name, class_names=classes, aux_head=True)
    model.upsample = False  # the loss upsamples by itself and needs less memory for it
    return model


def train_epoch(
    accelerator: Accelerator,
    model: torch.nn.Module,
    loader: DataLoader[tuple[torch.Tensor, torch.Tensor]],
    normalize: ddrnet.data.Normalize,
    criterion: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: PolynomialLR,
) -> None:
    """Take one step per batch; log the loss now and then, which waits for the device."""
    model.train()
    for images, labels in loader:  # (N, 3, H, W) uint8, (N, H, W) int64
        loss = criterion(model(normalize(images)), labels)
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        step = schedule.last_epoch
        if step % LOG_EVERY == 0:
            row = {"train/loss": loss.item(), "train/lr": schedule.get_last_lr()[0]}
            accelerator.log(row, step)
            accelerator.print(f"step {step}/{schedule.total_iters}  loss {row['train/loss']:.4f}")


def main() -> None:
    """Train, validate after every epoch, keep the best weights."""
    args = arguments()
    set_seed(0)
    accelerator = Accelerator(cpu=args.cpu, log_with="tensorboard", project_dir=args.output)
    accelerator.init_trackers("tensorboard")

    crops = ddrnet.data.train_transform(args.crop_size)
    train_set = ddrnet.data.open_dataset(args.data_path, split="train", transforms=crops)
    val_set = ddrnet.data.open_dataset(args.data_path, split="val")
    loader = DataLoader(
        train_set,
        args.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=args.workers,
        pin_memory=accelerator.device.type == "cuda",
    )

    network = build_model(args.model, train_set.classes)
    if accelerator.num_processes > 1 and accelerator.device.type == "cuda":
        network = torch.nn.SyncBatchNorm.convert_sync_batchnorm(network)
    normalize = ddrnet.data.Normalize.from_model(network).to(accelerator.device)
    ohem = ddrnet.losses.OhemCrossEntropyLoss(min_kept_fraction=1 / 48)
    criterion = ddrnet.losses.AuxiliaryLoss(ohem, aux_weight=0.4)
    groups = network.parameter_groups(args.lr, weight_decay=5e-4)
    optimizer = torch.optim.SGD(groups, args.lr, momentum=0.9)
    # The wrapped model trains; `network` holds the same parameters, for validation and saving.
    model, optimizer, loader = accelerator.prepare(network, optimizer, loader)
    if len(loader) == 0:
        raise SystemExit(f"{train_set} has fewer images than a step takes: lower --batch-size")
    # A prepared schedule would step once per process; this one steps once per batch.
    schedule = PolynomialLR(optimizer, total_iters=args.epochs * len(loader), power=0.9)

    best = 0.0
    for epoch in range(args.epochs):
        train_set.set_epoch(epoch)  # new crops
        train_epoch(accelerator, model, loader, normalize, criterion, optimizer, schedule)
        scores = ddrnet.evaluate(network, val_set, num_workers=args.workers)
        accelerator.log({"val/mean_iou": scores.mean_iou}, schedule.last_epoch)
        accelerator.print(f"epoch {epoch + 1}/{args.epochs}  mean IoU {scores.mean_iou:.4f}")
        if accelerator.is_main_process and scores.mean_iou >= best:
            best = scores.mean_iou
            ddrnet.save_pretrained(network, args.output / "best")
    accelerator.end_training()


if __name__ == "__main__":
    main()
