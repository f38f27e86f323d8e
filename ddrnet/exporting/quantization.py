"""Quantises a graph to 8 bits with ONNX Runtime, calibrated by images."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ddrnet.predictor.exported.description import IMAGES
from ddrnet.predictor.exported.onnx_graphs import LOGITS, nodes_before

if TYPE_CHECKING:
    import onnx

_OPERATORS = ["Conv", "Add", "AveragePool", "Concat", "Relu", "Resize"]
"""What is computed in 8 bits. The few BatchNorm layers that are not folded stay in float."""


def quantized(
    model: onnx.ModelProto, images: Iterable[NDArray[np.uint8]], grey: int
) -> onnx.ModelProto:
    """Return a graph whose network computes in 8 bits up to its last convolution.

    Activations are unsigned with one scale per tensor, from the smallest and largest value over
    all images. Weights are signed with one scale per output channel and have 7 bits, so that sums
    of two products never saturate on processors without VNNI. The last convolution and all that
    follows stay in float: they decide between classes, and take 1 % of the time.

    Args:
        model: An `ImageGraph` with its normalisation in the stem.
        images: Each (N, H, W, C), of a size that the graph takes.
        grey: The level of the bytes that the graph subtracts.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    network = nodes_before(model, LOGITS)
    bytes_less_grey = next(node for node in network if node.op_type == "Sub").output[0]
    convolutions = [node.name for node in network if node.op_type == "Conv"]
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder, "quantized.onnx")
        quantize_static(
            model,
            path,
            _Calibration(iter(images)),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_OPERATORS,
            nodes_to_quantize=[node.name for node in network],
            nodes_to_exclude=convolutions[-1:],
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={
                "TensorQuantOverrides": {
                    bytes_less_grey: [
                        {
                            "scale": np.array(1, np.float32),
                            "zero_point": np.array(grey, np.uint8),
                        }
                    ]
                }
            },
        )
        found = onnx.load(path)
    _read_bytes_directly(found, bytes_less_grey)
    return found


def _read_bytes_directly(model: onnx.ModelProto, bytes_less_grey: str) -> None:
    """Drop the way of the images to float and back: the bytes are the quantised input already."""
    makers = {name: node for node in model.graph.node for name in node.output}
    subtract = makers[bytes_less_grey]
    cast = makers[subtract.input[0]]
    (quantize,) = (node for node in model.graph.node if bytes_less_grey in node.input)
    (dequantize,) = (node for node in model.graph.node if quantize.output[0] in node.input)
    dequantize.input[0] = cast.input[0]
    unused = set(subtract.input) | set(quantize.input[1:]) - set(dequantize.input)
    for node in (cast, subtract, quantize):
        model.graph.node.remove(node)
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in unused]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


class _Calibration:
    """Hands images to the calibration, one by one."""

    def __init__(self, images: Iterator[NDArray[np.uint8]]) -> None:
        self._images = images

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        image = next(self._images, None)
        return None if image is None else {IMAGES: image}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep ONNX Runtime from writing to the root logger, and from adding a handler to it."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    root.handlers[:] = [logging.NullHandler()]
    root.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
