"""Halves the weights in an ONNX graph without changing what it computes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ddrnet.fusing import fused_scales
from ddrnet.network import DDRNet

if TYPE_CHECKING:
    import onnx

logger = logging.getLogger(__name__)

_PREFIX = "network."
"""First part of the names of the network's weights in a graph."""


def halve_weights(graph: onnx.ModelProto, model: DDRNet) -> None:
    """Store convolution weights in 16 bits where every bit of their float32 values comes back.

    The graph holds weights that are multiplied by the scales of a folded BatchNorm, and 16 bits
    rarely hold the products. They often hold the weights before that: published files of this
    library are float16. The graph then stores those weights and the scales, and multiplies them
    itself. A runtime does so once, when it loads the file. The log shows the share of the weights
    that are stored in 16 bits.

    Args:
        graph: An exported graph of `model`; it is changed in place.
        model: The network in float32, before BatchNorm is folded.
    """
    weights, scales = model.state_dict(), fused_scales(model)
    tensors, nodes = [], []
    all_values = halved_values = 0
    for tensor in graph.graph.initializer:
        all_values += int(np.prod(tensor.dims))
        name = tensor.name.removeprefix(_PREFIX)
        halved = None
        if name in weights and len(tensor.dims) == 4:  # (C_out, C_in, k, k)
            scale = scales[name].numpy() if name in scales else None
            halved = _halved(tensor, weights[name].numpy(), scale)
        if halved is None:
            tensors.append(tensor)
            continue
        halved_values += int(np.prod(tensor.dims))
        tensors += halved[0]
        nodes += halved[1]
    nodes += graph.graph.node
    del graph.graph.initializer[:], graph.graph.node[:]
    graph.graph.initializer.extend(tensors)
    graph.graph.node.extend(nodes)
    logger.info("%.1f %% of the weights are stored in 16 bits", 100 * halved_values / all_values)


def _halved(
    tensor: onnx.TensorProto, weights: NDArray[np.float32], scale: NDArray[np.float32] | None
) -> tuple[list[onnx.TensorProto], list[onnx.NodeProto]] | None:
    """Return tensors and nodes that compute a tensor of a graph, or None if they lose a bit.

    Args:
        tensor: Weights of a convolution, multiplied by `scale`.
        weights: The same before that, (C_out, C_in, k, k).
        scale: (C_out, 1, 1, 1); None if BatchNorm does not follow the convolution.
    """
    from onnx import TensorProto, helper, numpy_helper

    with np.errstate(over="ignore"):  # infinity is not equal to the weight
        half = weights.astype(np.float16)
    single = half.astype(np.float32)
    result = single if scale is None else single * scale
    if not np.array_equal(result, numpy_helper.to_array(tensor)):
        return None
    half_name = f"{tensor.name}.half"
    tensors = [numpy_helper.from_array(half, half_name)]
    if scale is None:
        return tensors, [helper.make_node("Cast", [half_name], [tensor.name], to=TensorProto.FLOAT)]
    names = f"{tensor.name}.single", f"{tensor.name}.scale"
    tensors.append(numpy_helper.from_array(scale, names[1]))
    cast = helper.make_node("Cast", [half_name], [names[0]], to=TensorProto.FLOAT)
    return tensors, [cast, helper.make_node("Mul", names, [tensor.name])]
