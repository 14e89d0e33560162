"""What a TFLite file computes, operator by operator; its tensors can all be had where the interpreter keeps them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..contract import Layer
from .coverage import layer_name
from .file import read
from .graph import Model, Operator, Tensor, inputs, operators, outputs

_SHAPES = frozenset({"SHAPE", "RANK"})
"""Operators whose value says nothing of the values that they read."""
_MOVES = frozenset(
    {"QUANTIZE", "DEQUANTIZE", "RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS", "CAST", "BROADCAST_TO", "TILE"}
    | {"CONCATENATION", "SPLIT", "SPLIT_V", "SLICE", "STRIDED_SLICE", "GATHER", "PACK", "UNPACK", "PAD", "PADV2"}
    | {"MIRROR_PAD", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH"}
)
"""Operators that hand on what they read, elsewhere or in another form."""


def layers(file: Path) -> tuple[Layer, ...]:
    """The file's inputs, and every operator of the main graph that computes, in the order in which they run."""
    model = read(file)
    ends = {tensor.name for tensor in (*inputs(model), *outputs(model))}
    activations = _activations()
    found = [_layer(tensor, tensor.name, False, "input", ()) for tensor in inputs(model)]
    origin: dict[int, tuple[str, ...]] = {tensor.index: (tensor.name,) for tensor in inputs(model)}
    for step in _main(model):
        sources = tuple(dict.fromkeys(source for tensor in step.present for source in origin.get(tensor.index, ())))
        if not sources or step.name in _SHAPES:
            continue
        if step.name in _MOVES:
            origin.update(dict.fromkeys((tensor.index for tensor in step.outputs), sources))
            continue
        name = layer_name(step)
        is_module = name not in ends and name != f"{step.name} {step.index}"
        fused = activations.get(vars(step.options).get("fusedActivationFunction", 0), "") if step.options else ""
        found.append(_layer(step.outputs[0], name, is_module, step.name, sources, (fused,) if fused else ()))
        origin.update(dict.fromkeys((tensor.index for tensor in step.outputs), (step.outputs[0].name,)))
    return tuple(found)


def _main(model: Model) -> list[Operator]:
    return [step for step in operators(model) if step.subgraph == 0]


def _layer(
    tensor: Tensor, name: str, is_module: bool, operator: str, sources: tuple[str, ...], fused: tuple[str, ...] = ()
) -> Layer:
    form: dict[str, Any] = {"scale": tensor.scales[0], "zero_point": tensor.zero_points[0]} if tensor.scales else {}
    return Layer(name, is_module, operator, tensor.name, tensor.dtype, sources, fused, **form)


def _activations() -> dict[int, str]:
    """The activations that an operator can have fused into it, by their number in the schema; none is empty."""
    from ai_edge_litert import schema_py_generated as schema

    names = vars(schema.ActivationFunctionType)
    return {number: "" if name == "NONE" else name for name, number in names.items() if not name.startswith("_")}
