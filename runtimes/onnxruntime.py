"""ONNX Runtime: the emitter that turns an exported program into an ONNX model with explicit quantization."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ..ir.errors import StepError
from ..ir.facts import EXPORTED, Fact
from ..ir.sharing import ATTACHMENT
from .contract import NO_NOTES, Emitted, ModelNotes, Reference

if TYPE_CHECKING:
    from ..ir.state import ModelState
    from ..targets.schema import Target

MODEL, DATA = "model.onnx", "model.onnx.data"


@dataclass(frozen=True)
class OnnxEmitter:
    """Emits `model.onnx`; weights lie in `model.onnx.data` where they exceed `external_above_bytes`.

    A protobuf file ends at 2 GiB (https://protobuf.dev/programming-guides/proto-limits/); the default stays well
    below.
    """

    name: ClassVar[str] = "onnxruntime"
    needs: ClassVar[frozenset[Fact]] = frozenset({EXPORTED})
    packages: ClassVar[Mapping[str, str]] = {"onnxruntime": "onnxruntime"}
    extra: ClassVar[str] = "onnxruntime"
    builders: ClassVar[Mapping[str, str]] = {}
    is_portable: ClassVar[bool] = False
    within_one: ClassVar[float] = 0.5
    """Through a hundred layers of random weights some 65 % are within one step; of kernels that saturate, few."""
    external_above_bytes: int = 1 << 30

    def reference(self) -> Reference | None:
        """None: the runtime runs wherever it is installed."""
        return None

    def refusals(self, batches: Mapping[str, int | None]) -> tuple[str, ...]:
        """None: ONNX takes whatever the network takes."""
        return ()

    def emit(self, state: ModelState, target: Target, out: Path, notes: ModelNotes = NO_NOTES) -> Emitted:
        """The checked model lies in `out`; the same state gives the same bytes.

        StepError where a need does not hold, where an operator has no ONNX form, or where the checker objects.
        """
        from .onnx_graph.codebooks import store_codebooks
        from .onnx_graph.count import count
        from .onnx_graph.coverage import coverage
        from .onnx_graph.export import exported, save
        from .onnx_graph.float_layers import keep_float_layers
        from .onnx_graph.stored_weights import rewrite, without_dynamic_nodes

        if missing := self.needs - state.facts:
            raise StepError(f"{self.name}: needs '{', '.join(map(str, missing))}', which does not hold")
        model = exported(without_dynamic_nodes(state), notes, self.name)
        keep_float_layers(model)
        files = save(model, out / MODEL, self.external_above_bytes, self.name)
        macs, parameters = count(out / MODEL)
        is_changed = rewrite(model, state)
        if ATTACHMENT in state.attachments:
            is_changed = bool(store_codebooks(model)) or is_changed
        if is_changed:
            files = save(model, out / MODEL, self.external_above_bytes, self.name)
        total_bytes = sum((out / file).stat().st_size for file in files)
        return Emitted(MODEL, files, total_bytes, macs, parameters, coverage(out / MODEL))
