"""An exported ONNX file in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ddrnet.errors import DDRNetError, ExportError
from ddrnet.files import StrPath
from ddrnet.predictor.exported.description import IMAGES, Description, read_sealed

if TYPE_CHECKING:
    import onnxruntime


class OnnxFile:
    """Runs the graph of a file that `ddrnet.export` wrote.

    Args:
        content: The whole file.
        place: The name of the file, for errors.
        providers: Execution providers of ONNX Runtime, the preferred one first.
        threads: Threads of one operator; None for one per processor core.

    Attributes:
        description: The metadata of the file.
        size: Height and width of the images; None if they may vary.
        batch: Images per call; None for any number.

    Raises:
        DDRNetError: If onnxruntime is not installed.
        ExportError: If the content is no file of `ddrnet.export`.
        ValueError: If a provider is not installed.
    """

    def __init__(
        self,
        content: bytes,
        place: str,
        *,
        providers: Sequence[str] = ("CPUExecutionProvider",),
        threads: int | None = None,
    ) -> None:
        self._session = _session(content, place, providers, threads)
        found = self._session.get_modelmeta().custom_metadata_map
        self.description = Description.from_metadata(found, place)
        self.batch, height, width = self._checked_shape(place)
        self.size = None if height is None or width is None else (height, width)

    @classmethod
    def open(cls, path: StrPath, **options: object) -> OnnxFile:
        """Open a file; the options are those of the class.

        Raises:
            Exception: The same errors as the class and `read_sealed`.
        """
        return cls(read_sealed(path), str(path), **options)  # type: ignore[arg-type]

    def _checked_shape(self, place: str) -> list[int | None]:
        """Return batch, height and width of the input; None for each that may vary."""
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        channels = self.description.spec.in_chans
        shape = inputs[0].shape if inputs else []
        if (
            [(node.name, node.type) for node in inputs] != [(IMAGES, "tensor(uint8)")]
            or [node.name for node in outputs] != [self.description.output]
            or len(shape) != 4
            or shape[3] != channels
        ):
            raise ExportError(
                f"{place} is damaged: expected one input of uint8 images (N, H, W, {channels}) and "
                f"the output {self.description.output!r}"
            )
        return [length if isinstance(length, int) else None for length in shape[:3]]

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.generic]:
        """Compute the output of images.

        Args:
            images: (N, H, W, C), of the file's size and batch.

        Returns:
            Labels (N, H, W) uint8, or float32 logits (N, K, h, w).

        Raises:
            ValueError: If the images have another shape than the file takes.
            ExportError: If ONNX Runtime fails, for instance for lack of memory.
        """
        expected = (self.batch, *(self.size or (None, None)), self.description.spec.in_chans)
        fits = [want in (None, got) for want, got in zip(expected, images.shape, strict=False)]
        if images.ndim != 4 or not all(fits):
            shape = ", ".join("any" if length is None else str(length) for length in expected)
            raise ValueError(f"expected images of shape ({shape}), got {images.shape}")
        try:
            result: NDArray[np.generic] = self._session.run(None, {IMAGES: images})[0]
        except _runtime_errors() as error:
            raise ExportError(f"ONNX Runtime failed on images {images.shape}: {error}") from error
        return result


def _session(
    content: bytes, place: str, providers: Sequence[str], threads: int | None
) -> onnxruntime.InferenceSession:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise DDRNetError(
            f'ONNX files need onnxruntime: pip install "ddrnet[export]" ({error})'
        ) from error
    installed = onnxruntime.get_available_providers()
    missing = [name for name in providers if name not in installed]
    if missing:
        raise ValueError(
            f"this onnxruntime has no {', '.join(missing)}, only {', '.join(installed)}; other "
            "builds, such as onnxruntime-gpu, have more"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 4  # errors are raised as well
    try:
        return onnxruntime.InferenceSession(content, options, providers=list(providers))
    except _runtime_errors() as error:
        raise ExportError(f"ONNX Runtime cannot load {place}: {error}") from error


def _runtime_errors() -> tuple[type[Exception], ...]:
    """Return the errors of ONNX Runtime, which have no base class of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return tuple(
        error
        for error in vars(state).values()
        if isinstance(error, type) and issubclass(error, Exception)
    )
