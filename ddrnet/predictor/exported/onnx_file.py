"""An exported ONNX file, checked and ready to compute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ddrnet.errors import ExportError, MissingPackageError
from ddrnet.files import StrPath
from ddrnet.predictor.exported.description import IMAGES, Description, read_sealed
from ddrnet.predictor.exported.onnx_graphs import LOGITS, cut_at_logits
from ddrnet.predictor.exported.runtimes import RUNTIMES, GraphBackend, Runtime

if TYPE_CHECKING:
    import onnx


class OnnxFile:
    """Runs the graph of a file that `ddrnet.export` wrote.

    Args:
        content: The whole file.
        place: The name of the file, for errors.
        backend: The library that computes.
        threads: Threads of one operator; by default as many as torch uses.
        providers: Execution providers of ONNX Runtime, the preferred one first, or one device of
            OpenVINO; by default the CPU.
        logits: Compute the logits at stride 8, whatever the output of the file is.

    Attributes:
        description: The metadata of the file.
        size: Height and width of the images; None if they may vary.
        batch: Images per call; None for any number.

    Raises:
        MissingPackageError: If a package is not installed.
        ExportError: If the content is no file of `ddrnet.export`.
        ValueError: If a provider is not installed.
    """

    def __init__(
        self,
        content: bytes,
        place: str,
        *,
        backend: GraphBackend = "onnxruntime",
        threads: int | None = None,
        providers: Sequence[str] | None = None,
        logits: bool = False,
    ) -> None:
        model = _parsed(content, place)
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        self.description = Description.from_metadata(metadata, place)
        self.batch, height, width = self._checked_shape(model, place)
        self.size = None if height is None or width is None else (height, width)
        if logits and self.description.output != LOGITS:
            content = _cut(model, place).SerializeToString()
        self._run: Runtime = RUNTIMES[backend](content, place, threads=threads, providers=providers)

    @classmethod
    def open(cls, path: StrPath, **options: Any) -> OnnxFile:
        """Open a file; the options are those of the class.

        Raises:
            Exception: The same errors as the class and `read_sealed`.
        """
        return cls(read_sealed(path), str(path), **options)

    def _checked_shape(self, model: onnx.ModelProto, place: str) -> list[int | None]:
        """Return batch, height and width of the input; None for each that may vary."""
        inputs, outputs = model.graph.input, model.graph.output
        channels = self.description.spec.in_chans
        shape = [
            dim.dim_value if dim.HasField("dim_value") else None
            for dim in (inputs[0].type.tensor_type.shape.dim if inputs else ())
        ]
        uint8 = 2  # onnx.TensorProto.UINT8
        if (
            [(node.name, node.type.tensor_type.elem_type) for node in inputs] != [(IMAGES, uint8)]
            or [node.name for node in outputs] != [self.description.output]
            or len(shape) != 4
            or shape[3] != channels
        ):
            raise ExportError(
                f"{place} is damaged: expected one input of uint8 images (N, H, W, {channels}) and "
                f"the output {self.description.output!r}"
            )
        return shape[:3]

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.generic]:
        """Compute the output of images.

        Args:
            images: (N, H, W, C), of the file's size and batch.

        Returns:
            Labels (N, H, W) uint8, or float32 logits (N, K, h, w).

        Raises:
            ValueError: If the images have another shape than the file takes.
            ExportError: If the library fails, for instance for lack of memory.
        """
        expected = (self.batch, *(self.size or (None, None)), self.description.spec.in_chans)
        fits = [want in (None, got) for want, got in zip(expected, images.shape, strict=False)]
        if images.ndim != 4 or not all(fits):
            shape = ", ".join("any" if length is None else str(length) for length in expected)
            raise ValueError(f"expected images of shape ({shape}), got {images.shape}")
        return self._run(images)


def _parsed(content: bytes, place: str) -> onnx.ModelProto:
    """Read the content of a file, which holds all of its tensors itself."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f'ONNX files need onnx: pip install "ddrnet[export]" ({error})'
        ) from error
    try:
        model = onnx.load_from_string(content)
    except DecodeError as error:
        raise ExportError(f"{place} is damaged: it holds no ONNX model ({error})") from error
    if any(t.data_location == onnx.TensorProto.EXTERNAL for t in model.graph.initializer):
        raise ExportError(f"{place} is damaged: some of its weights stand in other files")
    return model


def _cut(model: onnx.ModelProto, place: str) -> onnx.ModelProto:
    try:
        return cut_at_logits(model)
    except ValueError as error:
        raise ExportError(
            f"{place} cannot be read: {error} at stride 8; export the model again"
        ) from error
