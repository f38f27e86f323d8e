"""Turns a traced graph into the content of one ONNX file."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch.export import ExportedProgram

from ddrnet.errors import DDRNetError
from ddrnet.predictor.exported.description import IMAGES, Description, Output, sealed

if TYPE_CHECKING:
    import onnx

_AXES: Mapping[str, tuple[str | int, ...]] = {
    IMAGES: ("batch", "height", "width", 0),
    "labels": ("batch", "height", "width"),
    "logits": ("batch", 0, "ceil(height / 8)", "ceil(width / 8)"),
    "full": ("batch", 0, "height", "width"),
}
"""Names of the axes that vary; a 0 stands for the number in the graph."""


def check_packages() -> None:
    """Check that the extra `export` is installed; torch's exporter imports onnxscript.

    Raises:
        DDRNetError: If a package is missing.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise DDRNetError(
            "ONNX files need onnx, onnxruntime and onnxscript: "
            f'pip install "ddrnet[export]" ({error})'
        ) from error


def to_onnx(program: ExportedProgram, output: Output) -> onnx.ModelProto:
    """Convert a traced `ImageGraph`.

    The names of files and lines that the exporter notes are dropped, and so are the sizes between
    operators: some of them hold for the traced images alone.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter uses parts of torch that it replaces
        exported = torch.onnx.export(
            program, dynamo=True, input_names=[IMAGES], output_names=[output], verbose=False
        )
    assert exported is not None
    model: onnx.ModelProto = exported.model_proto
    del model.graph.value_info[:]
    for node in (*model.graph.node, *model.graph.input, *model.graph.output):
        del node.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output):
        for dim, axis in zip(value.type.tensor_type.shape.dim, _AXES[value.name], strict=True):
            if dim.HasField("dim_param"):
                dim.dim_param = str(axis)
    return model


def file_content(model: onnx.ModelProto, description: Description) -> bytes:
    """Return the content of the file of a graph; equal graphs give equal bytes."""
    from onnx.helper import set_model_props

    model.producer_name = "ddrnet"
    model.producer_version = description.library_version
    model.graph.name = description.spec.architecture or "ddrnet"
    set_model_props(model, description.to_metadata())
    return sealed(model.SerializeToString(deterministic=True))
