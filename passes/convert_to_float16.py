"""convert-to-float16: every stored value is one that float16 holds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

from ..ir.errors import InputError, Problem
from ..ir.facts import BATCHNORM_FOLDED, EXPORTED, HALVED, Aspect, Fact
from ..ir.graph import add_tensor, editable, is_constant, is_float_tensor, lifted, read_tensor, tensor_of
from ..ir.state import ModelState
from .contract import Context, Lossy, Numerics, Skip

if TYPE_CHECKING:
    from ..recipe.schema import Recipe
    from ..targets import Target


@dataclass(frozen=True)
class ConvertToFloat16:
    """Weights are rounded to IEEE 754 binary16, so that an artifact can store them in half the bytes."""

    name: ClassVar[str] = "convert-to-float16"
    needs: ClassVar[frozenset[Fact]] = frozenset({EXPORTED, BATCHNORM_FOLDED})
    makes: ClassVar[frozenset[Fact]] = frozenset({HALVED})
    touches: ClassVar[frozenset[Aspect]] = frozenset({Aspect.NUMERICS})
    keeps: ClassVar[frozenset[Fact]] = frozenset()
    numerics: ClassVar[Numerics] = Lossy("weights are rounded to eleven significant bits")
    asks: ClassVar[str | None] = "compress.quantize"
    reads: ClassVar[frozenset[str]] = frozenset()
    decides: ClassVar[str] = ""

    computed_in: str

    @classmethod
    def for_target(cls, target: Target, recipe: Recipe) -> Self | Skip | None:
        asked, can = recipe.compress.quantize, target.quantization.float16
        if asked is None or asked.precision != "float16":
            return None
        if can is None:
            why = (
                f"{target.name} has no use for it: its kernels compute in float32; ask for int8, or for another target"
            )
            return Skip("float16", why)
        return cls(computed_in=can.computed_in)

    def run(self, state: ModelState, context: Context) -> ModelState:
        import torch

        program = state.exported_program()
        module = editable(program)
        stored = [node for node in module.graph.nodes if is_constant(node) and is_float_tensor(node)]
        too_large = []
        for node in stored:
            rounded = tensor_of(module, node).detach().half().float()
            if not bool(rounded.isfinite().all()):
                too_large.append(str(node.target))
                continue
            with module.graph.inserting_before(node):
                name = str(node.target)
                own = f"{name.rpartition('.')[2]}_in_float16"
                read = read_tensor(module, add_tensor(module, name, own, rounded))
            node.replace_all_uses_with(read)
        module.graph.eliminate_dead_code()
        if too_large:
            most = f"values up to {torch.finfo(torch.float16).max:g}, which float16 holds"
            raise InputError(
                [Problem("recipe", "compress.quantize.precision", most, f"larger ones in {name}") for name in too_large]
            )
        context.say(f"{len(stored)} tensors in float16, computed with in {self.computed_in}")
        return replace(state, program=lifted(module, program)).with_attachment("halved", len(stored))
