"""Transforms of torchvision v2 and Albumentations turn the images and labels of data sets alike."""

import numpy as np
import pytest
import torch
from data_files import save_png
from torchvision import tv_tensors
from torchvision.transforms import v2

from ddrnet.data import SegmentationFolder

CODES = torch.arange(40 * 60).reshape(40, 60) % 19


@pytest.fixture
def folder(tmp_path):
    """One image whose red channel is 10 times its labels."""
    pixels = (CODES * 10).numpy().astype(np.uint8)
    save_png(tmp_path / "images" / "a.png", np.stack([pixels, 255 - pixels, pixels], 2))
    save_png(tmp_path / "labels" / "a.png", CODES.numpy().astype(np.uint8))
    return tmp_path


def dataset(folder, transforms):
    names = [f"class {index}" for index in range(19)]
    return SegmentationFolder(folder / "images", folder / "labels", names, transforms=transforms)


def torchvision_steps():
    fill = {tv_tensors.Image: 0, tv_tensors.Mask: 255}
    return v2.Compose(
        [
            v2.RandomHorizontalFlip(0.5),
            v2.RandomVerticalFlip(0.5),
            v2.RandomRotation(90, fill=fill),
            v2.RandomCrop((24, 32)),
        ]
    )


def albumentations_steps():
    albumentations = pytest.importorskip("albumentations", minversion="2.0.8")
    augment = albumentations.Compose(
        [
            albumentations.HorizontalFlip(),
            albumentations.RandomRotate90(),
            albumentations.RandomCrop(24, 32),
            albumentations.ToTensorV2(),
        ]
    )

    def transforms(image, labels):
        augment.set_random_seed(int(torch.randint(2**31, ())))
        changed = augment(image=image.permute(1, 2, 0).numpy(), mask=labels.numpy())
        return changed["image"], changed["mask"]

    return transforms


@pytest.mark.parametrize("steps", [torchvision_steps, albumentations_steps])
def test_images_and_labels_are_turned_alike(folder, steps):
    opened = dataset(folder, steps())
    seen = []
    for epoch in range(8):
        opened.set_epoch(epoch)
        image, labels = opened[0]
        assert (image.shape, image.dtype) == ((3, 24, 32), torch.uint8)
        assert (labels.shape, labels.dtype) == ((24, 32), torch.int64)
        known = labels != 255
        assert known.any()
        assert torch.equal(image[0][known].long(), labels[known] * 10)
        again, _ = opened[0]
        assert torch.equal(image, again)
        seen.append(image)
    assert len({image.numpy().tobytes() for image in seen}) > 1
