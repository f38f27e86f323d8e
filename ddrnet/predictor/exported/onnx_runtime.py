"""Computes an ONNX graph with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from ddrnet.errors import ExportError, MissingPackageError
from ddrnet.predictor.exported.description import IMAGES

if TYPE_CHECKING:
    import onnxruntime

CPU_PROVIDERS = ("CPUExecutionProvider",)


class OnnxRuntime:
    """ONNX Runtime.

    Args:
        content: The ONNX model.
        place: The name of the file, for errors.
        threads: Threads of one operator; by default as many as torch uses.
        providers: Execution providers, the preferred one first; by default the CPU.

    Raises:
        MissingPackageError: If onnxruntime is not installed.
        ExportError: If the content cannot be loaded.
        ValueError: If a provider is not installed.
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
        import onnxruntime

        wanted, installed = list(providers or CPU_PROVIDERS), onnxruntime.get_available_providers()
        missing = [name for name in wanted if name not in installed]
        if missing:
            raise ValueError(
                f"this onnxruntime has no {', '.join(missing)}, only {', '.join(installed)}; other "
                "builds, such as onnxruntime-gpu, have more"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        options.log_severity_level = 4  # errors are raised as well
        try:
            session = onnxruntime.InferenceSession(content, options, providers=wanted)
        except _onnxruntime_errors() as error:
            raise ExportError(f"ONNX Runtime cannot load {place}: {error}") from error
        self._session: onnxruntime.InferenceSession = session

    @staticmethod
    def check_installed() -> None:
        """Check that onnxruntime is installed.

        Raises:
            MissingPackageError: If it is not.
        """
        try:
            import onnxruntime  # noqa: F401
        except ModuleNotFoundError as error:
            raise MissingPackageError(
                f'ONNX Runtime is not installed: pip install "ddrnet[export]" ({error})'
            ) from error

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.generic]:
        """Compute images (N, H, W, C).

        Raises:
            ExportError: If ONNX Runtime fails.
        """
        try:
            result: NDArray[np.generic] = self._session.run(None, {IMAGES: images})[0]
        except _onnxruntime_errors() as error:
            raise ExportError(f"ONNX Runtime failed on images {images.shape}: {error}") from error
        return result


def _onnxruntime_errors() -> tuple[type[Exception], ...]:
    """Return the errors of ONNX Runtime, which have no base class of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return tuple(
        error
        for error in vars(state).values()
        if isinstance(error, type) and issubclass(error, Exception)
    )
