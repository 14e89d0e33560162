"""2:4 sparsity in weights: which tensors have it, and whether a model still does.

Of every four weights that follow each other along the input channels, for one output channel and one position of the
kernel, at least two are zero (NVIDIA A100 Tensor Core GPU Architecture whitepaper, "Fine-Grained Structured Sparsity";
for convolutions: TensorRT, I/O Formats and Sparsity,
https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/io-formats-sparsity.html).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .graph import operator

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram
    from torch.fx import Node

    from .state import ModelState

ATTACHMENT = "sparse_2_4"
"""The modules whose weights are sparse, by name."""
GROUP, KEPT = 4, 2
_LAYERS = ("conv1d", "conv2d", "conv3d", "linear", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")


def two_in_four(weight: Tensor) -> Tensor:
    """Where in the weight (out, in, *kernel) the largest two of each four lie; `in` is a multiple of 4."""
    import torch

    outputs, inputs = weight.shape[:2]
    groups = weight.detach().abs().reshape(outputs, inputs // GROUP, GROUP, -1)
    largest = groups.topk(KEPT, dim=2).indices
    return torch.zeros_like(groups, dtype=torch.bool).scatter_(2, largest, True).reshape(weight.shape)


def is_two_in_four(weight: Tensor) -> bool:
    """Whether the weight (out, in, *kernel) has at most two values other than zero in each four along its inputs."""
    outputs, inputs = weight.shape[:2]
    if inputs % GROUP:
        return False
    held = (weight.reshape(outputs, inputs // GROUP, GROUP, -1) != 0).sum(2)
    return bool((held <= KEPT).all())


def sparse_weights(state: ModelState) -> Mapping[str, Tensor]:
    """The weights of the modules that were made sparse, as they are stored now: floats, or integers once quantized."""
    layers = frozenset(state.attachments.get(ATTACHMENT, ()))
    if state.module is not None:
        return {f"{name}.weight": state.module.get_submodule(name).weight for name in sorted(layers)}  # type: ignore[misc]
    stored = dict(stored_weights(state.exported_program()))
    return {name: tensor for name, tensor in stored.items() if name.rpartition(".")[0] in layers}


def is_sparse(state: ModelState) -> bool:
    """Whether there are such weights, and every one of them is 2:4 sparse."""
    weights = sparse_weights(state)
    return bool(weights) and all(is_two_in_four(weight) for weight in weights.values())


def stored_weights(program: ExportedProgram) -> Iterator[tuple[str, Tensor]]:
    """The stored weights that layers read, through dequantize nodes too, and their names."""
    names = {spec.arg.name: str(spec.target) for spec in program.graph_signature.input_specs if spec.target is not None}
    for node in program.graph.nodes:
        if operator(node) not in _LAYERS:
            continue
        weight = _origin(node.args[1])
        if weight is not None and weight.name in names:
            name = names[weight.name]
            yield name, program.state_dict[name]


def stored_as(program: ExportedProgram, known: Collection[str]) -> Mapping[str, Tensor]:
    """The stored weights that layers read, by those of the known names that they have, or had once.

    Integers that were put in a weight's place lie beside where it was: a name is told by its owner, where that has no
    other of these.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in stored_weights(program):
        owner = name.rpartition(".")[0]
        beside = [entry for entry in known if entry.rpartition(".")[0] == owner]
        if name in known or len(beside) == 1:
            found[name if name in known else beside[0]] = tensor
    return found


def _origin(value: Any) -> Node | None:
    """What a chain of operators of one tensor begins with."""
    from torch.fx import Node

    while isinstance(value, Node) and value.op == "call_function" and value.args:
        value = value.args[0]
    return value if isinstance(value, Node) and value.op == "placeholder" else None
