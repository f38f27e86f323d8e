"""Turns a traced graph into the content of one ONNX file, and cuts a graph off at its logits."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import torch
from torch.export import ExportedProgram

from ddrnet.errors import MissingPackageError
from ddrnet.network import DDRNet
from ddrnet.predictor.exported.description import IMAGES, Description, Output, sealed
from ddrnet.predictor.exported.graphs import ImageGraph, trace

if TYPE_CHECKING:
    import onnx

LOGITS: Literal["logits"] = "logits"
"""Name of the logits at stride 8 in every graph, whether they are its output or not."""

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
        MissingPackageError: If a package is missing.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingPackageError(
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
    _name_logits(model)
    return model


def _name_logits(model: onnx.ModelProto) -> None:
    """Name the result of the last convolution, as float32, `LOGITS`."""
    nodes = model.graph.node
    name = next(node.output[0] for node in reversed(nodes) if node.op_type == "Conv")
    casts = (n.output[0] for n in nodes if n.op_type == "Cast" and n.input[0] == name)
    name = next(casts, name)  # of half precision
    for node in nodes:
        for values in (node.input, node.output):
            values[:] = [LOGITS if value == name else value for value in values]


def cut_at_logits(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph of the same network whose only output are the logits at stride 8.

    Raises:
        ValueError: If the graph has no such logits.
    """
    import onnx

    kept = nodes_before(model, LOGITS)
    if not kept:
        raise ValueError(f"the graph has no {LOGITS}")
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    del cut.graph.node[:], cut.graph.output[:], cut.graph.initializer[:]
    cut.graph.node.extend(kept)
    wanted = {name for node in kept for name in node.input}
    cut.graph.initializer.extend(t for t in model.graph.initializer if t.name in wanted)
    shape = [None] * 4
    cut.graph.output.append(
        onnx.helper.make_tensor_value_info(LOGITS, onnx.TensorProto.FLOAT, shape)
    )
    return cut


def nodes_before(model: onnx.ModelProto, value: str) -> list[onnx.NodeProto]:
    """Return the nodes that a value is computed from, in their order; none if there is no such."""
    wanted, found = {value}, []
    for node in reversed(model.graph.node):  # they stand in the order of computation
        if wanted & set(node.output):
            wanted |= set(node.input)
            found.append(node)
    return found[::-1]


def file_content(model: onnx.ModelProto, description: Description) -> bytes:
    """Return the content of the file of a graph; equal graphs give equal bytes."""
    from onnx.helper import set_model_props

    model.producer_name = "ddrnet"
    model.producer_version = description.library_version
    model.graph.name = description.spec.architecture or "ddrnet"
    set_model_props(model, description.to_metadata())
    return sealed(model.SerializeToString(deterministic=True))


def logits_file(model: DDRNet) -> bytes:
    """Return the content of a file that computes the logits of a model, for images of any size.

    Raises:
        MissingPackageError: If a package of the extra `export` is missing.
    """
    check_packages()
    program = trace(ImageGraph(model, LOGITS), None, None)
    return file_content(to_onnx(program, LOGITS), Description.of(model, LOGITS))
