"""export: the torch module becomes a torch.export graph, with a batch of any size where the network allows one."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ..ir.constants import with_constants_folded
from ..ir.decomposition import RECURRENT, decomposed
from ..ir.errors import StepError
from ..ir.facts import EXPORTED, Aspect, Fact
from ..ir.functional import functional
from ..ir.graph import export, operator
from ..ir.state import InputSpec, ModelState
from .contract import Close, Context, Numerics

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram

    from ..recipe.schema import Recipe
    from ..targets import Target


@dataclass(frozen=True)
class Export:
    """The graph stands for the module from here on: evaluation mode, nothing in place, no dropout, constants folded."""

    name: ClassVar[str] = "export"
    needs: ClassVar[frozenset[Fact]] = frozenset()
    makes: ClassVar[frozenset[Fact]] = frozenset({EXPORTED})
    touches: ClassVar[frozenset[Aspect]] = frozenset()
    keeps: ClassVar[frozenset[Fact]] = frozenset()
    numerics: ClassVar[Numerics] = Close(1e-5)
    asks: ClassVar[str | None] = None
    reads: ClassVar[frozenset[str]] = frozenset()
    decides: ClassVar[str] = "whether the batch stays open, by whether torch.export can trace it so"

    decompose: tuple[str, ...] = ()
    """Operators that are taken apart into ones that the target's integer kernels compute."""

    @classmethod
    def for_target(cls, target: Target, recipe: Recipe) -> Self:
        asked, int8 = recipe.compress.quantize, target.quantization.int8_static
        return cls(int8.decomposed if int8 is not None and asked is not None and asked.is_static else ())

    def run(self, state: ModelState, context: Context) -> ModelState:
        module = state.torch_module().eval()
        try:
            program = export(module, _examples(state.inputs, 2), open_batch=True)
        except Exception as error:  # torch.export raises what the user's code raises, of any type
            program = _with_fixed_batch(module, state.inputs, error, context)
        if self.decompose:
            program = decomposed(functional(self._fixed_where_recurrent(module, program, state.inputs)), self.decompose)
        return replace(state, module=None, program=with_constants_folded(functional(program)))

    def _fixed_where_recurrent(
        self, module: nn.Module, program: ExportedProgram, inputs: tuple[InputSpec, ...]
    ) -> ExportedProgram:
        """With a batch that is known, the first state of a recurrent layer is a constant and not computed."""
        recurrent = {*self.decompose} & {*RECURRENT} & {operator(node) for node in program.graph.nodes}
        batch = inputs[0].batch
        return export(module, _examples(inputs, batch), open_batch=False) if recurrent and batch else program


def _with_fixed_batch(
    module: nn.Module, inputs: tuple[InputSpec, ...], refusal: Exception, context: Context
) -> ExportedProgram:
    batches = {spec.batch for spec in inputs}
    batch = batches.pop() if len(batches) == 1 else None
    if batch is None:
        raise StepError(
            f"export: {_reason(refusal)}; {_place(refusal)}a fixed batch in model.inputs may help"
        ) from refusal
    try:
        program = export(module, _examples(inputs, batch), open_batch=False)
    except Exception as error:
        raise StepError(f"export: {_place(error)}torch.export cannot trace the network: {_reason(error)}") from error
    context.say(f"the batch is fixed at {batch}: {_place(refusal, is_whole=False)}{_reason(refusal)}")
    return program


def _examples(inputs: tuple[InputSpec, ...], batch: int) -> tuple[Tensor, ...]:
    import torch

    generator = torch.Generator().manual_seed(0)
    return tuple(_example(spec, batch, generator) for spec in inputs)


def _example(spec: InputSpec, batch: int, generator: Any) -> Tensor:
    import torch

    dtype: torch.dtype = getattr(torch, spec.dtype)
    if dtype.is_floating_point:
        return torch.rand((batch, *spec.sample_shape), generator=generator, dtype=dtype)
    return torch.zeros((batch, *spec.sample_shape), dtype=dtype)


def _reason(error: Exception) -> str:
    """The first line of torch's message that says something."""
    if "specialized it to be a constant" in str(error):
        return "its code takes batches of one size only"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]


def _place(error: Exception, is_whole: bool = True) -> str:
    """The innermost line of the user's own code that the error came through; empty where it came through none.

    The file stands there with its whole path or, in what is kept in a state, by its name alone.
    """
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "site-packages" not in frame.filename and frame.name == "forward" and frame.line
    ]
    if not frames:
        return ""
    file = frames[-1].filename if is_whole else Path(frames[-1].filename).name
    return f"{file}:{frames[-1].lineno} ({frames[-1].line}): "
