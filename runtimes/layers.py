"""The layers of an artifact, and which layer of another artifact of the same network each of them is."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..ir.errors import InputError, Problem
from .contract import Layer, Reference
from .tensorrt import REFERENCE
from .tensorrt_build import settings

READABLE = frozenset({"onnxruntime", "tensorrt", "tflite"})
"""The runtimes of whose files the layers can be read."""
INPUT = "input"
"""What the operator of a network's input is called."""


def layers(runtime: str, file: Path) -> tuple[Layer, ...]:
    """What the file computes, its inputs first, in the order in which it runs. InputError where nobody can read it."""
    match runtime:
        case "onnxruntime" | "tensorrt":
            from .onnx_graph.layers import layers as read
        case "tflite":
            from .flatbuffer.layers import layers as read
        case _:
            raise InputError(
                Problem(
                    "layers", runtime, f"a file of {' or '.join(sorted(READABLE))}, whose layers can be read", "another"
                )
            )
    return read(file)


def last_resort(runtime: str) -> Reference | None:
    """What hands out the values between layers where the runtime can't; None where nothing else does."""
    return REFERENCE if runtime == "tensorrt" else None


def readable(runtime: str, file: Path, wanted: Sequence[Layer], folder: Path) -> tuple[Path, dict[str, Any]]:
    """The file and the load options with which the runtime hands out the tensors of these layers.

    An engine of TensorRT keeps nothing between its layers, so it is built of a model in which they are outputs; that
    model, and engine.json, lie in `folder` then.
    """
    if runtime != "tensorrt":
        return file, {"keep_tensors": [layer.tensor for layer in wanted]} if wanted else {}
    from .onnx_graph.exposed import expose

    if (file.parent / settings.FILE).is_file():
        shutil.copyfile(file.parent / settings.FILE, folder / settings.FILE)
    return expose(file, wanted, folder), {}


def executed_names(runtime: str, nodes: Sequence[str], file: Path) -> tuple[str, ...]:
    """What the file calls the operators that the runtime says it ran."""
    if runtime != "onnxruntime":
        return tuple(nodes)
    from .onnx_graph.layers import executed_names as read

    return read(nodes, file)


def counterparts(found: Sequence[Layer], others: Sequence[Layer]) -> Mapping[str, Layer]:
    """For the tensor of each layer of `found`, the layer of `others` that makes the same value of the network.

    A module's layer is the one of the same name and operator; any other the one with the same operator that reads the
    same values. Where several fit, they are taken in the order in which they run. What is missing has no such layer.
    """
    matched: dict[str, Layer] = {}
    taken: set[str] = set()
    for layer in found:
        sources = tuple(matched[source].tensor if source in matched else "" for source in layer.sources)
        alike = (other for other in others if other.tensor not in taken and _is_same(layer, other, sources))
        end = next((end for other in alike if (end := _behind(other, layer.fused, others)) is not None), None)
        if end is not None:
            matched[layer.tensor] = end
            taken.add(end.tensor)
    return matched


def _is_same(layer: Layer, other: Layer, sources: tuple[str, ...]) -> bool:
    """Whether `other` is the same operator of the network, seen from its start."""
    if layer.operator != other.operator or layer.is_module != other.is_module:
        return False
    if layer.is_module or layer.operator == INPUT:
        return layer.name == other.name
    return sources == other.sources


def _behind(layer: Layer, activations: tuple[str, ...], others: Iterable[Layer]) -> Layer | None:
    """The layer behind these activations, which it has itself or which are operators of their own behind it."""
    if layer.fused != activations[: len(layer.fused)]:
        return None
    for name in activations[len(layer.fused) :]:
        behind = [other for other in others if other.operator == name and other.sources == (layer.tensor,)]
        if len(behind) != 1:
            return None
        layer = behind[0]
    return layer
