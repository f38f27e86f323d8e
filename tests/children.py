"""What child processes of the tests do; they import it by this name."""

import torch


def predict(model, images, results):
    """Put the labels of images into a queue."""
    results.put(model.predict(images).tolist())


def change(model):
    """Overwrite the bias of the head."""
    with torch.no_grad():
        model.head.conv2.bias.fill_(7)
