"""Fine-tune pretrained weights with Accelerate, on any number of devices; BatchNorm stays as it is.

    accelerate launch examples/finetune_accelerate.py my-data --model ddrnet_23_slim.cityscapes

`my-data` is a folder as for examples/finetune.py, and the result one for `ddrnet predict`.
"""

from __future__ import annotations

import argparse

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

import ddrnet


def main() -> None:
    """Train and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="folder of the images, masks and classes")
    parser.add_argument("--model", default="ddrnet_23_slim.cityscapes", help="weights to start")
    parser.add_argument("--epochs", type=int, default=20, help="passes over the images")
    parser.add_argument("--crop-size", type=int, default=512, help="side of a crop in pixels")
    parser.add_argument("--batch-size", type=int, default=2, help="crops per device, from 1 up")
    parser.add_argument("--output", default="finetuned", help="folder of the result")
    args = parser.parse_args()
    accelerator = Accelerator()

    crops = ddrnet.data.train_transform(args.crop_size)
    dataset = ddrnet.data.open_dataset(args.data, split="train", transforms=crops)
    loader = DataLoader(dataset, args.batch_size, shuffle=True)
    network = ddrnet.create_model(args.model, pretrained=True, class_names=dataset.classes)
    network.upsample = False  # the loss upsamples by itself
    ddrnet.freeze_batch_norm(network)  # small batches have poor statistics
    normalize = ddrnet.data.Normalize.from_model(network).to(accelerator.device)
    criterion = ddrnet.losses.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(network.parameter_groups(lr=1e-3, head_factor=10))
    # The wrapped model trains; `network` holds the same parameters, for saving.
    model, optimizer, loader = accelerator.prepare(network, optimizer, loader)
    for epoch in range(args.epochs):
        dataset.set_epoch(epoch)  # new crops
        for images, labels in loader:  # (N, 3, H, W) uint8, (N, H, W) int64
            loss = criterion(model(normalize(images)), labels)
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
        accelerator.print(f"epoch {epoch + 1}/{args.epochs}  loss of the last batch {loss:.4f}")
    if accelerator.is_main_process:
        ddrnet.save_pretrained(network, args.output)


if __name__ == "__main__":
    main()
