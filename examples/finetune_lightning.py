"""Fine-tune pretrained weights with Lightning's Trainer; the heads learn faster than the backbone.

    python examples/finetune_lightning.py my-data --model ddrnet_23_slim.cityscapes

`my-data` is a folder as for examples/finetune.py, and the result one for `ddrnet predict`.
"""

import argparse

import lightning
import torch
from torch.utils.data import DataLoader

import ddrnet


class FineTuning(lightning.LightningModule):
    """A network with its normalisation, loss and optimizer."""

    def __init__(self, network: ddrnet.DDRNet) -> None:
        super().__init__()
        self.network, self.normalize = network, ddrnet.data.Normalize.from_model(network)
        self.criterion = ddrnet.losses.CrossEntropyLoss()

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        """Return the loss of a batch."""
        images, labels = batch  # (N, 3, H, W) uint8, (N, H, W) int64
        loss = self.criterion(self.network(self.normalize(images)), labels)
        self.log("loss", loss, prog_bar=True)
        return loss

    def on_train_epoch_start(self) -> None:
        """Draw new crops."""
        self.trainer.train_dataloader.dataset.set_epoch(self.current_epoch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return an optimizer with another learning rate for the heads."""
        return torch.optim.AdamW(self.network.parameter_groups(lr=1e-3, head_factor=10))


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
    loader = DataLoader(dataset, min(4, len(dataset)), shuffle=True, drop_last=True)
    network = ddrnet.create_model(args.model, True, class_names=dataset.classes, upsample=False)
    trainer = lightning.Trainer(max_epochs=args.epochs, logger=False, enable_checkpointing=False)
    trainer.fit(FineTuning(network), loader)
    ddrnet.save_pretrained(network, args.output)


if __name__ == "__main__":
    main()
