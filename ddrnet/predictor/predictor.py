"""Segments images from any source by one model."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddrnet.errors import PredictionError
from ddrnet.files import StrPath
from ddrnet.labels import MAX_CLASSES, ClassLabel
from ddrnet.network import MIN_SIZE, DDRNet
from ddrnet.predictor.backends import Backend, open_engine
from ddrnet.predictor.engine import Engine, Precision
from ddrnet.predictor.pixels import Picture, read_pixels
from ddrnet.predictor.segmentation import Segmentation
from ddrnet.predictor.sources import Pending, find_sources, images_of
from ddrnet.predictor.stream import Read, stream
from ddrnet.predictor.tta import check_scales, label_maps, resized, views
from ddrnet.predictor.windows import Windows


class Predictor:
    """Segments images of any size; the labels have the size of the source.

    The network is a copy for inference: BatchNorm folded into convolutions, no auxiliary head,
    activations stored with channels innermost. The caller's model stays as it is.

    Other backends run an exported graph from images to logits at stride 8. They take whole bytes:
    images that are resized before the network are rounded.

    Args:
        model: A model, the name of a pretrained or saved one (as for `create_model`), the folder
            of a saved model, a checkpoint file, or an ONNX file of `ddrnet.export`.
        backend: The library that computes the network: "torch", "onnxruntime" or "openvino". By
            default ONNX Runtime for ONNX files, torch for everything else. What is no ONNX file is
            exported in memory, which takes a while.
        device: Where torch computes; by default the accelerator, or the CPU without one.
        precision: Of weights and activations in torch. Labels are computed in float32.
        fused: Whether BatchNorm is folded; for torch, like `compile`.
        compile: Whether torch compiles the network, which takes a while for each new size.
        threads: Threads of ONNX Runtime or OpenVINO; by default as many as torch uses.
        providers: Execution providers of ONNX Runtime, the preferred one first, or one device of
            OpenVINO; by default the CPU.
        size: Height and width that the network sees, in pixels; by default those of the source.
            Images below 32 pixels are enlarged. The labels keep the source's size.
        tta: Test-time augmentation: scales whose class probabilities are averaged, each also seen
            mirrored left and right. `(1.0,)` only mirrors.
        window: Height and width of overlapping windows, in pixels, for images that memory cannot
            hold otherwise. Each window sees only its own surroundings, so labels may differ from
            those of the whole image.
        confidence: Whether results hold the probability of the predicted class.

    Raises:
        TypeError: If `model` is of another type.
        ValueError: If an argument does not fit, or the model has more than 256 classes.
        CheckpointError: If a file cannot be read, or leaves parts of the model untrained.
        ExportError: If an ONNX file is not of `ddrnet.export`, or has changed since.
        MissingPackageError: If a package of the backend is not installed.
        WeightsUnavailableError: If weights cannot be fetched, or only initialise a training.

    Example:
        >>> predictor = Predictor("ddrnet_23_nano.camvid", device="cpu")
        >>> predictor(np.zeros((40, 60, 3), np.uint8)).labels.shape
        (40, 60)
    """

    def __init__(
        self,
        model: DDRNet | StrPath,
        *,
        backend: Backend | None = None,
        device: torch.device | str | None = None,
        precision: Precision = "float32",
        fused: bool = True,
        compile: bool = False,
        threads: int | None = None,
        providers: Sequence[str] | None = None,
        size: tuple[int, int] | None = None,
        tta: Sequence[float] | None = None,
        window: tuple[int, int] | None = None,
        confidence: bool = False,
    ) -> None:
        if size is not None and (len(size) != 2 or min(size) < MIN_SIZE):
            raise ValueError(f"size is a height and a width from {MIN_SIZE} pixels, got {size}")
        if tta is not None:
            check_scales(tta)
        self.engine: Engine = open_engine(
            model,
            backend,
            device=device,
            precision=precision,
            fused=fused,
            compile=compile,
            threads=threads,
            providers=providers,
        )
        if len(self.classes) > MAX_CLASSES:
            raise ValueError(
                f"the model has {len(self.classes)} classes; labels of 8 bits hold {MAX_CLASSES}"
            )
        fixed = self.engine.size
        scaled = any(scale != 1 for scale in tta or ())
        if fixed is not None and (size not in (None, fixed) or scaled or window is not None):
            raise ValueError(
                f"the file takes images of {fixed[0]} x {fixed[1]} alone: size, window and scales "
                "need a file for any size"
            )
        self.size = size or fixed
        self.tta = tta
        self._turn = threading.Lock()
        self.confidence = confidence
        self._windows = None if window is None else Windows(lambda part: self.engine(part), window)

    def __call__(self, source: Picture) -> Segmentation:
        """Segment one image.

        Args:
            source: A path, an http(s) address, a Pillow image, an array (H, W), (H, W, C) or a
                tensor (C, H, W), uint8. An array has the model's channels, or is grey or RGB, or
                RGB with an alpha channel, which is dropped.

        Raises:
            FileNotFoundError: If there is no such file.
            TypeError: If `source` is of another type.
            ValueError: If it cannot be read, has other channels or values, or the logits are not
                finite.
        """
        started = time.perf_counter()
        pixels = read_pixels(source, self.engine.in_chans)  # (C, H, W)
        shown = str(source) if isinstance(source, str | Path) else ""
        pending = Pending(shown, lambda channels: pixels)
        return self._segment([Read(pending, pixels, 1000 * (time.perf_counter() - started))])[0]

    @torch.inference_mode()
    def predict(self, images: Tensor) -> Tensor:
        """Return the class of every pixel of images in memory.

        Args:
            images: (N, C, H, W) uint8, with the model's channels; RGB also for one channel.

        Returns:
            Class indices (N, H, W), uint8, on the device that computes.

        Raises:
            ValueError: If the images have another shape or type, or the logits are not finite.
        """
        if images.ndim != 4 or images.dtype != torch.uint8 or 0 in images.shape:
            raise ValueError(
                "expected uint8 images of shape (N, C, H, W), "
                f"got {images.dtype} of shape {tuple(images.shape)}"
            )
        with self._turn:
            maps = self._views(images)
        return label_maps(maps, images.shape[2:]).labels

    def stream(
        self, sources: Any, *, every: int = 1
    ) -> Generator[Segmentation | PredictionError, None, None]:
        """Segment many images while others are read; memory does not grow with their number.

        Reading, computing and the caller's work on the results overlap in threads. A source that
        fails gives a `PredictionError`, and the rest goes on. Closing the generator ends the
        threads. Accelerators segment consecutive images of one size together.

        Args:
            sources: A file, a folder, a pattern such as `photos/**/*.jpg`, a text file with one
                source per line, an http(s) address, a video, the number of a webcam, an image in
                memory, or an iterable of these. Folders are searched for images, subfolders too.
            every: Take each so-many-th frame of videos, animations and webcams.

        Yields:
            One result for each image and frame, in order.

        Raises:
            ValueError: If `every` is below 1.
        """
        if every < 1:
            raise ValueError(f"every is 1 for all frames, 2 for each second one; got {every}")
        found = (
            image for source in find_sources(sources) for image in images_of(source, every=every)
        )
        return self.stream_pending(found)

    def stream_pending(
        self, pending: Iterable[Pending]
    ) -> Generator[Segmentation | PredictionError, None, None]:
        """Segment images as `stream` does, after the caller has seen and selected them."""
        return stream(pending, self._segment, self.engine.in_chans, self.engine.batch_pixels)

    @property
    def classes(self) -> tuple[ClassLabel, ...]:
        """The class of each label."""
        return self.engine.classes

    def _segment(self, reads: Sequence[Read]) -> list[Segmentation]:
        """Segment images of one size together."""
        pixels = [read.pixels for read in reads]  # each (C, H, W)
        images = torch.stack(pixels) if len(pixels) > 1 else pixels[0][None]
        size = images.shape[2:]
        with self._turn:  # a stream computes the labels of one batch beside the next network
            started = time.perf_counter()
            maps = self._views(images)
            computed = time.perf_counter()
        found = label_maps(maps, size, self.confidence)  # (N, H, W)
        labels = found.labels.cpu().numpy()
        confidence = None if found.confidence is None else found.confidence.cpu().numpy()
        ended = time.perf_counter()
        return [
            Segmentation(
                image=read.pixels.permute(1, 2, 0).numpy(),
                labels=labels[index],
                classes=self.classes,
                confidence=None if confidence is None else confidence[index],
                source=read.pending.source,
                frame=read.pending.frame,
                time=read.pending.time,
                speed={
                    "decode": read.milliseconds,
                    "network": 1000 * (computed - started) / len(reads),
                    "labels": 1000 * (ended - computed) / len(reads),
                },
            )
            for index, read in enumerate(reads)
        ]

    def _views(self, images: Tensor) -> list[Tensor]:
        """Return the logits of each view of (N, C, H, W) bytes."""
        seen = resized(images, self.size or images.shape[2:])
        return views(self._logits, seen, self.tta or (1.0,), flip=self.tta is not None)

    def _logits(self, images: Tensor) -> Tensor:
        """Return the logits of (N, C, H, W) bytes; small images are enlarged."""
        enlarged = resized(images, [max(side, MIN_SIZE) for side in images.shape[2:]])
        return (self._windows or self.engine)(enlarged)
