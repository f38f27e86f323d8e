"""The libraries that compute an ONNX graph."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ddrnet.predictor.exported.onnx_runtime import OnnxRuntime
from ddrnet.predictor.exported.openvino_runtime import OpenVino

GraphBackend = Literal["onnxruntime", "openvino"]
"""The names of the libraries."""

RUNTIMES: dict[GraphBackend, type[OnnxRuntime] | type[OpenVino]] = {
    "onnxruntime": OnnxRuntime,
    "openvino": OpenVino,
}


class Runtime(Protocol):
    """Computes the only output of a graph."""

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.generic]:
        """Compute images (N, H, W, C).

        Raises:
            ExportError: If the library fails, for instance for lack of memory.
        """
        ...
