"""Fine-tune pretrained weights on your own images, masks and classes.

    python examples/finetune.py my-data --model ddrnet_23_slim.cityscapes

`my-data` holds images/train, labels/train and classes.txt, as `ddrnet data check my-data` wants
them. The result is a folder for `ddrnet predict photos --model finetuned`.
"""

from __future__ import annotations

import argparse

import torch
from torch.utils.data import DataLoader

import ddrnet


def main() -> None:
    """Train all layers, the new head at a higher rate, and save."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("data", help="folder of the images, masks and classes")
    parser.add_argument("--model", default="ddrnet_23_slim.cityscapes", help="weights to start")
    parser.add_argument("--epochs", type=int, default=20, help="passes over the images")
    parser.add_argument("--crop-size", type=int, default=512, help="side of a crop in pixels")
    parser.add_argument("--output", default="finetuned", help="folder of the result")
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"

    crops = ddrnet.data.train_transform(args.crop_size)
    dataset = ddrnet.data.open_dataset(args.data, split="train", transforms=crops)
    loader = DataLoader(dataset, min(4, len(dataset)), shuffle=True, drop_last=True)
    model = ddrnet.create_model(args.model, pretrained=True, class_names=dataset.classes)
    model.to(device).upsample = False  # the loss upsamples by itself
    normalize = ddrnet.data.Normalize.from_model(model).to(device)
    criterion = ddrnet.losses.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameter_groups(lr=1e-3, head_factor=10))
    steps = args.epochs * len(loader)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, steps, power=0.9)
    for epoch in range(args.epochs):
        dataset.set_epoch(epoch)  # new crops
        for images, labels in loader:  # (N, 3, H, W) uint8, (N, H, W) int64
            loss = criterion(model(normalize(images.to(device))), labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1}/{args.epochs}  loss of the last batch {loss.item():.4f}")
    ddrnet.save_pretrained(model, args.output)


if __name__ == "__main__":
    main()
