"""What the simulated model holds at each layer in one inference, and how far an artifact's layers are from that.

A layer of a file is found by the name of the user's module, any other value by its grid: no two tensors of a network
are likely to have the same scale. What is found by neither, or may be one of two different values, is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..benchmarks.fidelity import NEXT_STEP
from ..ir.errors import StepError
from ..ir.graph import editable, is_constant, operator
from ..ir.state import register_quantized_operators
from ..quantization.placement import WEIGHTED, layer_name
from ..runtimes import Ports, open_prover
from ..runtimes.layers import READABLE, layers

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor
    from torch.export import ExportedProgram
    from torch.fx import GraphModule, Node

    from ..devices.contract import Device
    from ..runtimes.contract import Layer

FLOAT_STEPS = 255
"""What lies on no grid is counted in steps of which its largest value has so many."""
_WITHOUT_BIAS = "MatMul"
"""ONNX's product of a linear layer, whose bias an operator of its own adds: not the value that the module has."""
_ACTIVATIONS = frozenset({"relu", "relu6", "hardtanh", "clamp"})
"""What kernels of any target fuse with the layer before."""
_FUSED: Mapping[str, tuple[float, float]] = {
    "RELU": (0.0, float("inf")),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
}
"""Where activations that TFLite fuses into float layers cut."""


@dataclass(frozen=True)
class Simulated:
    """One value of the simulated model, as torch lays it out: integers with a scale, or floats.

    `name` is the user's module where `is_module` says so, with what is fused behind it; otherwise the graph's own.
    """

    name: str
    is_module: bool
    scale: float | None
    zero_point: int
    values: np.ndarray = field(compare=False, repr=False)

    def label(self) -> dict[str, Any]:
        """Everything but the values, as plain data."""
        return {"name": self.name, "is_module": self.is_module, "scale": self.scale, "zero_point": self.zero_point}


@dataclass(frozen=True)
class Steps:
    """How far a layer is from what was simulated, in steps of its grid, and the share of values that are equal."""

    largest: float
    share_equal: float


def simulate(program: ExportedProgram, inputs: Sequence[Tensor]) -> tuple[Simulated, ...]:
    """What a quantized program holds behind its quantize nodes, and in the layers that it computes in float."""
    import torch
    from torch.fx.graph import CodeGen

    register_quantized_operators()
    module = editable(program)
    held = list(_held(module))
    output = next(node for node in module.graph.nodes if node.op == "output")
    output.args = (tuple(node for node, _, _ in held),)
    module.graph.set_codegen(CodeGen())
    module.recompile()
    with torch.no_grad():
        values = module(*inputs)
    return tuple(
        Simulated(name, is_module, *_grid(node), value.numpy())
        for (node, name, is_module), value in zip(held, values, strict=True)
    )


def off_by(found: Mapping[str, np.ndarray], wanted: Sequence[Layer], known: Sequence[Simulated]) -> dict[str, Steps]:
    """For each layer's tensor that is known, how far what was found of it is from what was simulated."""
    steps = {}
    for layer in wanted:
        right = _counterpart(layer, found[layer.tensor], known) if layer.tensor in found else None
        if right is not None:
            steps[layer.tensor] = _steps(layer, found[layer.tensor], right)
    return steps


def first_off(
    runtime: str, device: Device, file: Path, ports: Ports, arrays: Mapping[str, np.ndarray], known: Sequence[Simulated]
) -> str:
    """The first layer of the file that is more than one step from what was simulated; empty where none can be told.

    `arrays` are the inputs of the inference that `known` is of.
    """
    if runtime not in READABLE or not known:
        return ""
    read = layers(runtime, file)
    ends = {port.name for port in (*ports.inputs, *ports.outputs)} | set(arrays)
    names = [layer.tensor for layer in read if layer.scale is not None and layer.tensor not in ends]
    options: dict[str, Any] = {"keep_tensors": names} if names else {}
    try:
        with open_prover(runtime, device, file, ports, options) as runner:
            steps = off_by(runner.tensors(arrays), read, known)
    except StepError:  # the caller has a failure to tell already, to which this would add a word
        return ""
    return next((layer.name for layer in read if layer.tensor in steps and steps[layer.tensor].largest > NEXT_STEP), "")


def _held(module: GraphModule) -> Iterator[tuple[Node, str, bool]]:
    """Each value that is worth keeping: the node, its name, and whether that is a module's."""
    import torch

    quantize = torch.ops.quantized_decomposed.quantize_per_tensor.default
    seen: set[Node] = set()
    for node in module.graph.nodes:
        if node.target is not quantize or is_constant(node.args[0]):
            continue
        maker = _layer_behind(node.args[0])
        seen.update((maker,) if maker is not None else ())
        yield (node, layer_name(maker), True) if maker is not None else (node, node.args[0].name, False)
    for node in module.graph.nodes:
        if operator(node) in WEIGHTED and node not in seen:
            yield node, layer_name(node), True


def _layer_behind(value: Node) -> Node | None:
    """The layer with weights that gives the value, itself or by the one activation behind it."""
    if operator(value) in WEIGHTED:
        return value
    if operator(value) not in _ACTIVATIONS:
        return None
    before: Any = value.args[0]
    return before if operator(before) in WEIGHTED and len(before.users) == 1 else None


def _grid(node: Node) -> tuple[float | None, int]:
    if operator(node) in WEIGHTED:
        return None, 0
    scale, zero_point = node.args[1:3]
    return float(scale), int(zero_point)  # type: ignore[arg-type]


def _counterpart(layer: Layer, found: np.ndarray, known: Sequence[Simulated]) -> np.ndarray | None:
    """The real values that were simulated for the layer, laid out as it lays them; None where no one value fits."""
    import numpy as np

    has_name = layer.is_module and layer.operator != _WITHOUT_BIAS
    named = [each for each in known if has_name and each.is_module and each.name == layer.name]
    alike = [
        each
        for each in known
        if layer.scale is not None
        and each.scale is not None
        and _is_scale(each.scale, layer.scale)
        and each.zero_point == layer.zero_point
    ]
    for candidates in (named, alike):
        fitting = [each for each in candidates if _forms(each.values, found.shape)]
        if fitting and all(np.array_equal(each.values, fitting[0].values) for each in fitting):
            real = [_real(fitting[0], form, layer.fused) for form in _forms(fitting[0].values, found.shape)]
            return min(real, key=lambda values: _distance(layer, found, values))
    return None


def _is_scale(simulated: float, found: float) -> bool:
    """Whether a file says the scale that was simulated, in float32 or, where its neighbours are so, in float16."""
    import numpy as np

    kinds = (np.float16, np.float32) if float(np.float16(found)) == found else (np.float32,)
    return any(kind(simulated) == kind(found) for kind in kinds)


def _forms(values: np.ndarray, shape: tuple[int, ...]) -> list[np.ndarray]:
    """The values in each layout that has the shape: torch's own, and (N, H, W, C) for (N, C, H, W).

    Where both have it, a layer is counted in the one to which it is nearer.
    """
    layouts = [values, values.transpose(0, 2, 3, 1)] if values.ndim == 4 else [values]
    return [each for each in layouts if each.shape == shape]


def _real(each: Simulated, values: np.ndarray, fused: tuple[str, ...]) -> np.ndarray:
    """What the values stand for, behind the activations that the file has in one with a layer in float."""
    import numpy as np

    if each.scale is not None:
        real: np.ndarray = (values.astype(np.float64) - each.zero_point) * each.scale
        return real
    for name in fused:
        values = np.clip(values, *_FUSED.get(name, (-np.inf, np.inf)))
    return values


def _distance(layer: Layer, found: np.ndarray, right: np.ndarray) -> float:
    import numpy as np

    return float(np.abs(_meant(layer, found) - right).mean())


def _meant(layer: Layer, found: np.ndarray) -> np.ndarray:
    """The real values that the file holds."""
    import numpy as np

    if layer.scale is None or np.issubdtype(found.dtype, np.floating):
        return found.astype(np.float64)
    real: np.ndarray = (found.astype(np.float64) - layer.zero_point) * layer.scale
    return real


def _steps(layer: Layer, found: np.ndarray, right: np.ndarray) -> Steps:
    import numpy as np

    step = layer.scale or float(np.abs(right).max(initial=0.0)) / FLOAT_STEPS or 1.0
    away = np.abs(_meant(layer, found) - right) / step
    return Steps(float(away.max(initial=0.0)), float((away < 0.5).mean()))
