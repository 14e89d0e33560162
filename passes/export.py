"""export: the torch module becomes a torch.export graph, with a batch of any size where the network allows one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ..ir.errors import StepError
from ..ir.facts import EXPORTED, Aspect, Fact
from ..ir.graph import export
from ..ir.state import InputSpec, ModelState
from .contract import Close, Context, Numerics

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram

    from ..recipe.schema import Recipe
    from ..targets import Target

_VIEWS = ("view", "slice", "select", "chunk", "split", "transpose", "permute", "reshape", "flatten", "expand", "narrow")


@dataclass(frozen=True)
class Export:
    """The module's graph stands for it from here on: evaluation mode, no in-place operators, no dropout."""

    name: ClassVar[str] = "export"
    needs: ClassVar[frozenset[Fact]] = frozenset()
    makes: ClassVar[frozenset[Fact]] = frozenset({EXPORTED})
    touches: ClassVar[frozenset[Aspect]] = frozenset()
    keeps: ClassVar[frozenset[Fact]] = frozenset()
    numerics: ClassVar[Numerics] = Close(1e-5)
    asks: ClassVar[str | None] = None
    reads: ClassVar[frozenset[str]] = frozenset()
    decides: ClassVar[str] = "whether the batch stays open, by whether torch.export can trace it so"

    @classmethod
    def for_target(cls, target: Target, recipe: Recipe) -> Self:
        return cls()

    def run(self, state: ModelState, context: Context) -> ModelState:
        module = state.torch_module().eval()
        try:
            program = export(module, _examples(state.inputs, 2), open_batch=True)
        except Exception as error:  # torch.export raises what the user's code raises, of any type
            program = _with_fixed_batch(module, state.inputs, error, context)
        return replace(state, module=None, program=_functional(program))


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
    context.say(f"the batch is fixed at {batch}: {_reason(refusal)}")
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


def _functional(program: ExportedProgram) -> ExportedProgram:
    """The same graph without in-place operators and without dropout, which does nothing in evaluation mode."""
    if _mutates_views(program):
        functional: ExportedProgram = program.run_decompositions({})
        return functional
    for node in list(program.graph.nodes):
        name = str(node.target)
        if node.op == "call_function" and name.startswith("aten.dropout"):
            node.replace_all_uses_with(node.args[0])
            program.graph.erase_node(node)
        elif _is_in_place(node):
            _make_functional(program.graph, node)
    program.graph.lint()
    program.graph_module.recompile()
    return program


def _is_in_place(node: Any) -> bool:
    return (
        node.op == "call_function"
        and str(node.target).startswith("aten.")
        and str(node.target).split(".")[1].endswith("_")
    )


def _make_functional(graph: Any, node: Any) -> None:
    """A functional node stands for the in-place one, and later readers of what was changed read the result."""
    import torch

    _, packet, overload = str(node.target).split(".")
    changed = node.args[0]
    node.target = getattr(getattr(torch.ops.aten, packet.removesuffix("_")), overload)
    order = {entry: index for index, entry in enumerate(graph.nodes)}
    changed.replace_all_uses_with(node, delete_user_cb=lambda user: order[user] > order[node])
    name = packet.removesuffix("_")
    node._rename(name)


def _mutates_views(program: ExportedProgram) -> bool:
    """Whether an in-place operator changes a view, an input, a stored tensor, or something that was viewed before."""
    for node in program.graph.nodes:
        if not _is_in_place(node):
            continue
        if node.args[0].op != "call_function":
            return True
        touched = [node.args[0], *node.args[0].users]
        if any(str(other.target).split(".")[1:2] and str(other.target).split(".")[1] in _VIEWS for other in touched):
            return True
    return False


def _reason(error: Exception) -> str:
    """The first line of torch's message that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]


def _place(error: Exception) -> str:
    """The innermost line of the user's own code that the error came through; empty where it came through none."""
    import traceback

    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "site-packages" not in frame.filename and frame.name == "forward" and frame.line
    ]
    return f"{frames[-1].filename}:{frames[-1].lineno} ({frames[-1].line}): " if frames else ""
