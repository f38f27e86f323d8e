"""Files of `ddrnet.export`, each made once for all tests."""

import functools

import numpy as np
import torch
from filelock import FileLock

import ddrnet
from ddrnet.network import DDRNet
from ddrnet.variants import DDRNetConfig, FusionStage

NAME = "ddrnet_23_nano.camvid"


@functools.cache
def nano():
    return ddrnet.create_model(NAME, pretrained=True).eval()


@functools.cache
def tiny():
    """An untrained network with few operators, which exports faster; its classes all occur."""
    torch.manual_seed(0)
    config = DDRNetConfig(8, (1, 1), (FusionStage(16, 1),), 8, 8)
    return DDRNet(config, 5).eval()


MODELS = {"nano": nano, "tiny": tiny}


def export_once(folder, name):
    """The path of an exported file, made by the first of all processes that asks for it.

    Its name says what it is: MODEL.OUTPUT.SUFFIX, or MODEL.OUTPUT-fixed.SUFFIX for two images of
    64 x 96.
    """
    folder.mkdir(exist_ok=True)
    model, output, _ = name.split(".")
    output, _, fixed = output.partition("-")
    options = {"size": (64, 96), "batch": 2} if fixed else {}
    with FileLock(folder / f"{name}.lock"):
        if not (folder / name).exists():
            ddrnet.export(MODELS[model](), folder / name, output=output, **options)
    return folder / name


def photos(n, height, width, seed=0):
    """Images (N, H, W, 3) uint8 with edges: labels of several classes."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (n, height // 24 + 1, width // 24 + 1, 3), np.uint8)
    return coarse.repeat(24, axis=1).repeat(24, axis=2)[:, :height, :width].copy()


def expected_logits(images, model):
    """Logits at stride 8 by the plain model, (N, K, h, w)."""
    model = model.without_aux_head().eval()
    model.upsample = False
    normalize = ddrnet.data.Normalize.from_model(model)
    with torch.no_grad():
        return model(normalize(torch.from_numpy(images).permute(0, 3, 1, 2)))


def lead(logits, labels):
    """The largest lead of another class over a label, as a fraction of the range of the logits."""
    full = torch.nn.functional.interpolate(
        logits.double(), labels.shape[1:], mode="bilinear", align_corners=False
    )
    chosen = full.gather(1, torch.from_numpy(labels).long()[:, None])[:, 0]
    return float((full.amax(1) - chosen).max() / (logits.max() - logits.min()))
