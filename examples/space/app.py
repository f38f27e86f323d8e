"""A demo in the browser: upload a street scene, see its classes.

    pip install -r examples/space/requirements.txt
    python examples/space/app.py

The folder is a complete Hugging Face Space too. DDRNET_MODEL names another model.
"""

from __future__ import annotations

import os

import gradio as gr
import numpy as np
from PIL import Image

import ddrnet

predictor = ddrnet.Predictor(os.environ.get("DDRNET_MODEL", "ddrnet_23_nano.camvid"))
colors = {label.name: "#{:02x}{:02x}{:02x}".format(*label.color) for label in predictor.classes}


def segment(image: Image.Image | None) -> tuple[Image.Image, list[tuple[np.ndarray, str]]]:
    """Return the image with one mask per present class, the largest first."""
    if image is None:
        raise gr.Error("Upload an image first.")
    result = predictor(image)
    shares = result.shares()
    names = sorted(shares, key=lambda name: -shares[name])
    return image, [(result.mask(name).astype(np.uint8), name) for name in names]


demo = gr.Interface(
    segment,
    gr.Image(type="pil", label="Street scene"),
    gr.AnnotatedImage(color_map=colors, label="Classes"),
    title="DDRNet: semantic segmentation in real time",
    flagging_mode="never",
)

if __name__ == "__main__":
    demo.launch()
