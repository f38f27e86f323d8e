"""Fine-tune pretrained weights with Hugging Face's Trainer, the stem and the trunk frozen.

    python examples/finetune_transformers.py my-data --model ddrnet_23_slim.cityscapes

`my-data` is a folder as for examples/finetune.py, and the result one for `ddrnet predict`.
"""

from __future__ import annotations

import argparse

import torch
from torch.utils.data import default_collate
from transformers import Trainer, TrainingArguments

import ddrnet


def main() -> None:
    """Train and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="folder of the images, masks and classes")
    parser.add_argument("--model", default="ddrnet_23_slim.cityscapes", help="weights to start")
    parser.add_argument("--epochs", type=int, default=20, help="passes over the images")
    parser.add_argument("--crop-size", type=int, default=512, help="side of a crop in pixels")
    parser.add_argument("--output", default="finetuned", help="folder of the result")
    args = parser.parse_args()

    crops = ddrnet.data.train_transform(args.crop_size)
    dataset = ddrnet.data.open_dataset(args.data, split="train", transforms=crops)
    network = ddrnet.create_model(args.model, pretrained=True, class_names=dataset.classes)
    network.upsample = False  # the loss upsamples by itself
    for part in (network.stem, network.trunk):
        part.requires_grad_(False)
    ddrnet.freeze_batch_norm(network)  # else the statistics of the frozen layers would change
    criterion = ddrnet.losses.CrossEntropyLoss()
    trainer = Trainer(
        torch.nn.Sequential(ddrnet.data.Normalize.from_model(network), network),
        TrainingArguments(
            args.output,
            num_train_epochs=args.epochs,
            per_device_train_batch_size=min(4, len(dataset)),
            dataloader_drop_last=True,
            remove_unused_columns=False,  # it would look for columns named as in a table
            save_strategy="no",
            report_to="none",
        ),
        # (N, 3, H, W) uint8 for the model, (N, H, W) int64 for the loss
        lambda samples: dict(zip(("input", "labels"), default_collate(samples), strict=True)),
        dataset,  # the Trainer asks it for new crops in every epoch
        compute_loss_func=lambda logits, labels, **_: criterion(logits, labels),
        optimizers=(torch.optim.AdamW(network.parameter_groups(lr=1e-3, head_factor=10)), None),
    )
    trainer.train()
    ddrnet.save_pretrained(network, args.output)


if __name__ == "__main__":
    main()
