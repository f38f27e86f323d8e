"""Plain independent versions of what the library does, to hold results and speeds against."""

import random

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from ddrnet.labels import CITYSCAPES


def map_ids_one_by_one(ids, rows=CITYSCAPES.rows):
    """(H, W) ids of a data set -> train ids, a pass over the map per class."""
    train_ids = np.full(ids.shape, 255, np.uint8)
    for row in rows:
        if row.id >= 0:
            train_ids[ids == row.id] = row.train_id
    return train_ids


def resize_then_crop(image, labels, crop_size, scale, rng):
    """(H, W, 3) and (H, W) -> a crop of the whole image resized, padded with 114 and 255."""
    factor = rng.uniform(*scale)
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    labels = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
    missing = [(0, max(0, crop - side)) for crop, side in zip(crop_size, labels.shape, strict=True)]
    image = np.pad(image, [*missing, (0, 0)], constant_values=114)
    labels = np.pad(labels, missing, constant_values=255)
    top, left = (
        rng.randint(0, side - crop) for side, crop in zip(labels.shape, crop_size, strict=True)
    )
    window = slice(top, top + crop_size[0]), slice(left, left + crop_size[1])
    return image[window], labels[window]


def plain_normalisation(image):
    """(H, W, 3) uint8 -> float32."""
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    return (image.astype(np.float32) / 255 - mean) / std


def plain_training_sample(image_path, labels_path, rows, crop_size, scale, rng):
    """Prepare one sample as published training code does; `rng` is a `random.Random`.

    Decode, map the ids of `rows` one by one, resize the whole image, normalise, crop, flip.
    """
    image = np.asarray(Image.open(image_path).convert("RGB"))
    labels = map_ids_one_by_one(np.asarray(Image.open(labels_path)), rows)
    factor = rng.uniform(*scale)
    size = round(image.shape[1] * factor), round(image.shape[0] * factor)
    image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    labels = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
    pixels = plain_normalisation(image)
    missing = [(0, max(0, crop - side)) for crop, side in zip(crop_size, labels.shape, strict=True)]
    pixels = np.pad(pixels, [*missing, (0, 0)])
    labels = np.pad(labels, missing, constant_values=255)
    top, left = (
        rng.randint(0, side - crop) for side, crop in zip(labels.shape, crop_size, strict=True)
    )
    pixels = pixels[top : top + crop_size[0], left : left + crop_size[1]]
    labels = labels[top : top + crop_size[0], left : left + crop_size[1]]
    if rng.random() < 0.5:
        pixels, labels = pixels[:, ::-1], labels[:, ::-1]
    image_tensor = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    return image_tensor, torch.from_numpy(labels.astype(np.int64))


def ohem_cross_entropy(logits, target, threshold, min_kept, class_weights=None, ignore_index=255):
    """HRNet's way: interpolate, softmax, sort the probabilities, drop the easy pixels."""
    logits = F.interpolate(logits, target.shape[1:], mode="bilinear", align_corners=False)
    losses = F.cross_entropy(
        logits, target, weight=class_weights, ignore_index=ignore_index, reduction="none"
    )
    valid = target != ignore_index
    labels = torch.where(valid, target, 0).unsqueeze(1)
    probability = logits.softmax(1).gather(1, labels).squeeze(1)[valid]
    ordered, order = probability.detach().sort()
    if len(ordered) == 0:
        return losses.sum()
    bound = max(float(ordered[min(min_kept, len(ordered) - 1)]), threshold)
    kept = losses[valid][order][ordered < bound]
    return kept.mean() if len(kept) else losses.sum() * 0


def confusion_matrix(predicted, target, num_classes, ignore_index=255):
    """Pixels by true class (row) and predicted class (column), the last one for no class."""
    counts = torch.zeros(num_classes, num_classes + 1, dtype=torch.int64)
    for guess, truth in zip(predicted.flatten().tolist(), target.flatten().tolist(), strict=True):
        if truth != ignore_index:
            counts[truth, guess if 0 <= guess < num_classes else num_classes] += 1
    return counts


def mean_probabilities(network, images, scales, flip):
    """(N, K, H, W): each view's logits interpolated whole, mirrored back, softmax, averaged."""
    total, views = 0, 0
    for scale in scales:
        size = [round(side * scale) for side in images.shape[2:]]
        resized = F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
        for mirrored in (False, True)[: 1 + flip]:
            logits = network(resized.flip(3) if mirrored else resized)
            logits = F.interpolate(logits, images.shape[2:], mode="bilinear", align_corners=False)
            total = total + (logits.flip(3) if mirrored else logits).softmax(1)
            views += 1
    return total / views


def plain_training(model, load, samples, epochs, batch_size, lr, min_kept, seed):
    """Train as published code does, and return the loss of each step.

    `model` gives logits and auxiliary logits at stride 8; `load(index, rng)` gives one of so many
    `samples`, normalised and augmented, `rng` a `random.Random`.
    """
    rng = random.Random(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr, momentum=0.9, weight_decay=5e-4)
    steps, losses = epochs * (samples // batch_size), []
    for _ in range(epochs):
        order = rng.sample(range(samples), samples)
        for first in range(0, samples - batch_size + 1, batch_size):
            batch = [load(index, rng) for index in order[first : first + batch_size]]
            images, target = (torch.stack(parts) for parts in zip(*batch, strict=True))
            for group in optimizer.param_groups:
                group["lr"] = lr * (1 - len(losses) / steps) ** 0.9
            losses.append(plain_training_step(model, optimizer, images, target, min_kept))
    return losses


def plain_training_step(model, optimizer, images, target, min_kept):
    """Change the weights once; return the loss: OHEM of both heads, the auxiliary one times 0.4."""
    optimizer.zero_grad()
    logits, auxiliary = model(images)
    loss = ohem_cross_entropy(logits, target, 0.9, min_kept)
    loss = loss + 0.4 * ohem_cross_entropy(auxiliary, target, 0.9, min_kept)
    loss.backward()
    optimizer.step()
    return loss.item()


def distillation_loss(logits, teacher_logits, temperature):
    """The divergence that torch computes between two distributions of the classes."""
    student, teacher = (
        torch.distributions.Categorical(logits=each.movedim(1, -1) / temperature)
        for each in (logits, teacher_logits)
    )
    return temperature**2 * torch.distributions.kl_divergence(teacher, student).mean()
