"""TFLite: the emitter that turns an exported program into one .tflite file, fully integer where it is quantized.

Two libraries run such files: ai-edge-litert, and the older tflite-runtime that many boards still have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..ir.errors import StepError
from ..ir.facts import EXPORTED, Fact
from .contract import NO_NOTES, Emitted, ModelNotes, Port, Ports, Reference
from .flatbuffer import device

if TYPE_CHECKING:
    from torch import Tensor

    from ..ir.state import InputSpec, ModelState
    from ..targets.schema import Target
    from .flatbuffer.graph import Model
    from .flatbuffer.graph import Tensor as FileTensor
    from .flatbuffer.versions import LowestRuntime

MODEL = "model.tflite"


@dataclass(frozen=True)
class TfliteEmitter:
    """Emits `model.tflite`. Images lie as (N, H, W, C) in it; a quantized model takes and gives int8."""

    name: ClassVar[str] = "tflite"
    needs: ClassVar[frozenset[Fact]] = frozenset({EXPORTED})
    packages: ClassVar[Mapping[str, str]] = {"ai-edge-litert": "ai_edge_litert", "litert-torch": "litert_torch"}
    extra: ClassVar[str] = "tflite"
    builders: ClassVar[Mapping[str, str]] = {}
    is_portable: ClassVar[bool] = True
    within_one: ClassVar[float] = 0.95

    def reference(self) -> Reference | None:
        """None: the runtime runs wherever it is installed."""
        return None

    def refusals(self, batches: Mapping[str, int | None]) -> tuple[str, ...]:
        """An open batch: a file that is resized afterwards can be silently wrong."""
        return tuple(
            f"model.inputs.{name}.shape: expected a fixed batch, as [1, ...], for a TFLite file, got an open one"
            for name, batch in batches.items()
            if batch is None
        )

    def emit(self, state: ModelState, target: Target, out: Path, notes: ModelNotes = NO_NOTES) -> Emitted:
        """The file lies in `out`; the same state gives the same bytes.

        StepError where a need does not hold, an operator has no TFLite form, or something is computed in float that
        should not be.
        """
        if missing := self.needs - state.facts:
            raise StepError(f"{self.name}: needs '{', '.join(map(str, missing))}', which does not hold")
        if refused := self.refusals({spec.name: spec.batch for spec in state.inputs}):
            raise StepError(f"{self.name}: {'; '.join(refused)}")
        lowest = _write(state, out / MODEL, NO_NOTES if target.micro else notes)
        return _emitted(state, target, out, f"runs in TFLite {lowest.version} and later: {lowest.because}")


def _write(state: ModelState, path: Path, notes: ModelNotes) -> LowestRuntime:
    """The file lies at `path`, with metadata where there are notes; returns the lowest runtime that runs it."""
    from .flatbuffer.barriers import remove_barriers
    from .flatbuffer.boundary import rename
    from .flatbuffer.file import read, write
    from .flatbuffer.layout import fold_transposes
    from .flatbuffer.lowering import lowered, ways_out
    from .flatbuffer.metadata import write_with_notes
    from .flatbuffer.names import name_layers
    from .flatbuffer.padding import fold_padding
    from .flatbuffer.versions import set_versions, write_lowest_runtime

    program = state.exported_program()
    model = read(lowered(program, _examples(state.inputs), "quantization" in state.attachments))
    remove_barriers(model, len(ways_out(program.graph)))
    name_layers(model, program)
    fold_transposes(model)
    fold_padding(model)
    _quantize(model, state)
    rename(model, *_names(model, state))
    set_versions(model)
    lowest = write_lowest_runtime(model)
    if notes == NO_NOTES:
        write(model, path)
    else:
        write_with_notes(model, notes, path)
    return lowest


def _quantize(model: Model, state: ModelState) -> None:
    """What the passes put on grids is integers in the file, or half floats."""
    from .flatbuffer.biases import widen_biases
    from .flatbuffer.boundary import float_boundary, integer_boundary
    from .flatbuffer.scales import merge_equal_scales, refuse_foreign_scales, weight_grids
    from .flatbuffer.stored import store_halves, store_integers

    if summary := state.attachments.get("quantization"):
        integer_boundary(model)
        if summary["float_interface"]:
            float_boundary(model)
        widen_biases(model)
        refuse_foreign_scales(model, state.exported_program(), tuple(summary["left_float"]))
        merge_equal_scales(model)
    if stored := state.attachments.get("stored_weights"):
        store_integers(model, weight_grids(state.exported_program()), stored["mode"] == "dynamic")
    if "halved" in state.attachments:
        store_halves(model)


def _names(model: Model, state: ModelState) -> tuple[list[str], list[str]]:
    names = [spec.name for spec in state.inputs]
    count = len(model.subgraphs[0].outputs)
    outputs = ["output"] if count == 1 else [f"output_{index}" for index in range(count)]
    if taken := set(outputs) & set(names):
        raise StepError(f"tflite: an input can't be called '{min(taken)}': an output has that name")
    return names, outputs


def _emitted(state: ModelState, target: Target, out: Path, lowest_runtime: str) -> Emitted:
    from .flatbuffer.coverage import count, coverage
    from .flatbuffer.file import read
    from .flatbuffer.micro import write_c_array

    found = coverage(out / MODEL)
    if state.attachments.get("stored_weights", {}).get("mode") == "weight-only":
        found = replace(found, left=(), float_operators=())  # as the recipe asked
    summary = state.attachments.get("quantization")
    if summary is not None and not summary["allow_float"]:
        _refuse_float(found.left, found.float_operators)
    macs, parameters = count(out / MODEL)
    held = device.limits(out / MODEL, target)
    files = [out / MODEL, *(write_c_array(out / MODEL, out, "model") if target.micro else ())]
    return Emitted(
        main=MODEL,
        files=tuple(file.name for file in files),
        total_bytes=(out / MODEL).stat().st_size,
        macs=macs,
        parameters=parameters,
        coverage=found,
        ports=_ports(read(out / MODEL)),
        remarks=(lowest_runtime, *device.remarks(out / MODEL, target)),
        limits=held,
    )


def _examples(inputs: tuple[InputSpec, ...]) -> tuple[Tensor, ...]:
    import torch

    return tuple(torch.zeros([size or 1 for size in spec.shape], dtype=getattr(torch, spec.dtype)) for spec in inputs)


def _refuse_float(left: tuple[tuple[str, str], ...], operators: tuple[tuple[str, int], ...]) -> None:
    found = [f"{layer}: {why}" for layer, why in left] + [f"{number} {name}" for name, number in operators]
    if found:
        raise StepError(
            "tflite: litert-torch left operators in float that the plan holds in int8: "
            f"{'; '.join(found)}. compress.quantize.allow_float: true lets them stay"
        )


def _ports(model: Model) -> Ports:
    from .flatbuffer.graph import inputs, outputs

    return Ports(tuple(map(_port, inputs(model))), tuple(map(_port, outputs(model))))


def _port(tensor: FileTensor) -> Port:
    from .flatbuffer.lowering import IMAGE_AXES

    grid: dict[str, Any] = {}
    if tensor.scales:
        grid = {"scale": tensor.scales[0], "zero_point": tensor.zero_points[0]}
    return Port(tensor.name, tensor.dtype, channels_last=len(tensor.shape) == IMAGE_AXES, **grid)
