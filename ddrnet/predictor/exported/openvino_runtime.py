"""Computes an ONNX graph with OpenVINO."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ddrnet.errors import ExportError, MissingPackageError


class OpenVino:
    """OpenVINO, in float32 on a CPU also where it would take bfloat16 by itself.

    Args:
        content: The ONNX model.
        place: The name of the file, for errors.
        threads: Threads of the CPU; by default as many as torch uses.
        providers: One device of OpenVINO, such as "GPU" or "AUTO:GPU,CPU"; by default the CPU.

    Raises:
        MissingPackageError: If openvino is not installed.
        ExportError: If the content cannot be loaded.
        ValueError: If there are several providers, or no such device.
    """

    def __init__(
        self,
        content: bytes,
        place: str,
        *,
        threads: int | None = None,
        providers: Sequence[str] | None = None,
    ) -> None:
        self.check_installed()
        import openvino

        wanted = list(providers or ["CPU"])
        core = openvino.Core()
        devices = {name.partition(".")[0] for name in core.available_devices}
        known = {"AUTO", "HETERO", "MULTI", *devices}
        if len(wanted) != 1 or wanted[0].partition(":")[0].partition(".")[0] not in known:
            raise ValueError(
                "OpenVINO takes one device, or several as AUTO:GPU,CPU; this machine has "
                f"{', '.join(core.available_devices)}; got {' '.join(wanted)}"
            )
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if wanted == ["CPU"]:
            options |= {
                "INFERENCE_PRECISION_HINT": "f32",
                "INFERENCE_NUM_THREADS": threads or torch.get_num_threads(),
            }
        try:
            model = core.read_model(content, b"")
            self._request = core.compile_model(model, wanted[0], options).create_infer_request()
        except RuntimeError as error:
            raise ExportError(f"OpenVINO cannot load {place}: {error}") from error

    @staticmethod
    def check_installed() -> None:
        """Check that openvino is installed.

        Raises:
            MissingPackageError: If it is not.
        """
        try:
            import openvino  # noqa: F401
        except ModuleNotFoundError as error:
            raise MissingPackageError(
                f'OpenVINO is not installed: pip install "ddrnet[export,openvino]" ({error})'
            ) from error

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.generic]:
        """Compute images (N, H, W, C).

        Raises:
            ExportError: If OpenVINO fails.
        """
        try:
            results = self._request.infer([images])
        except RuntimeError as error:
            raise ExportError(f"OpenVINO failed on images {images.shape}: {error}") from error
        result: NDArray[np.generic] = results[0].copy()  # the next call reuses the memory
        return result
