"""correct-bias: rounding no longer shifts the mean of a layer's outputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ..ir.facts import BATCHNORM_FOLDED, BIAS_CORRECTED, EXPORTED, RANGES_CALIBRATED, ROUNDING_LEARNED, Aspect, Fact
from ..ir.graph import editable, operator, set_tensor, tensor_of, up_to, with_tensors
from ..ir.state import register_quantized_operators
from ..quantization.weights import channel_axis
from .calibrate import Calibrate
from .contract import Context, Lossy, Numerics
from .insert_quantization import InsertQuantization, floors_of, insert_activations
from .samples import calibration_batches
from .trial import Trial, asked_for

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule, Node

    from ..ir.state import ModelState
    from ..recipe.schema import Recipe
    from ..targets import Target


@dataclass(frozen=True)
class CorrectBias:
    """Each bias loses what rounding adds to the mean of its channel, layer after layer; kept where it helps.

    Nagel et al. 2019 (arXiv:1906.04721, section 4.2 and appendix D): the means are those of calibration samples, with
    the layers before rounded and corrected. Ranges stay as they are. `calibrate` and `quantization` are what the
    network is quantized by.
    """

    name: ClassVar[str] = "correct-bias"
    needs: ClassVar[frozenset[Fact]] = frozenset({EXPORTED, BATCHNORM_FOLDED, RANGES_CALIBRATED})
    makes: ClassVar[frozenset[Fact]] = frozenset({BIAS_CORRECTED})
    touches: ClassVar[frozenset[Aspect]] = frozenset({Aspect.NUMERICS})
    """Biases are corrected for integers that they must not be yet; no weight moves."""
    keeps: ClassVar[frozenset[Fact]] = frozenset({ROUNDING_LEARNED})
    numerics: ClassVar[Numerics] = Lossy("biases take on what rounding would shift")
    asks: ClassVar[str | None] = "compress.quantize.repair"
    reads: ClassVar[frozenset[str]] = frozenset({"calibration"})
    decides: ClassVar[str] = "whether biases are corrected, by the error of the quantized network's outputs"

    calibrate: Calibrate
    quantization: InsertQuantization

    @classmethod
    def for_target(cls, target: Target, recipe: Recipe) -> Self | None:
        found = asked_for("correct-bias", target, recipe)
        return None if found is None else cls(*found)

    def run(self, state: ModelState, context: Context) -> ModelState:
        register_quantized_operators()
        program = state.exported_program()
        exact = editable(program)
        placement = self.quantization.placement(exact, state)
        nodes = {node.name: node for node in exact.graph.nodes}
        layers = _own_biases([nodes[layer.node] for layer in placement.layers])
        if not layers:
            context.say("no layer has a bias of its own")
            return state
        rounded = self._rounded(state)
        batches = [batch.inputs for batch in calibration_batches(state, context)]
        inside = {node.name: node for node in rounded.graph.nodes}
        biases: dict[str, Tensor] = {}
        with context.progress.task(self.name, len(layers)) as advance:
            for layer in layers:
                shift = _means(rounded, inside[layer.name], batches) - _means(exact, layer, batches)
                stored: Any = layer.args[2]
                biases[stored.target] = tensor_of(exact, stored).detach() - shift
                set_tensor(rounded, stored.target, biases[stored.target])
                advance(1, "")
        trial = Trial.of(state, context, self.calibrate, self.quantization)
        after = replace(state, program=with_tensors(program, biases))
        return trial.better(state, after, f"the biases of {len(biases)} of {len(placement.layers)} layers corrected")

    def _rounded(self, state: ModelState) -> GraphModule:
        """The graph with rounded activations, and with rounded weights in place of its own."""
        insert, module = self.quantization, editable(state.exported_program())
        placement = insert.placement(module, state)
        grids = insert.grids(placement, state.attachments["ranges"])
        nodes = {node.name: node for node in module.graph.nodes}
        layers = [nodes[layer.node] for layer in placement.layers]
        steps = {layer.node: grids[placement.groups[layer.input]].scale for layer in placement.layers}
        floors = floors_of(module, layers, steps, insert.bias)
        store = insert.store(module, state)
        for node in layers:
            stored: Any = node.args[1]
            integers, scales = store.integers(node, floors[stored.target])
            along = [-1 if index == channel_axis(node) else 1 for index in range(integers.dim())]
            set_tensor(module, stored.target, integers * scales.reshape(along))
        insert_activations(module, placement, grids, insert.rules.integer_only)
        module.recompile()
        return module


def _own_biases(layers: Sequence[Node]) -> list[Node]:
    """The layers with a bias that no other layer has."""
    found: list[Any] = [node for node in layers if len(node.args) > 2 and node.args[2] is not None]
    uses = Counter(str(node.args[2].target) for node in found)
    return [node for node in found if uses[str(node.args[2].target)] == 1]


def _means(module: GraphModule, node: Node, batches: Sequence[tuple[Tensor, ...]]) -> Tensor:
    """(channels,): the mean of each output channel over all samples and positions."""
    import torch

    part, total, count = up_to(module, node), torch.zeros(()), 0
    axis = -1 if operator(node) == "linear" else 1
    with torch.no_grad():
        for batch in batches:
            values = part(*batch).transpose(0, axis).flatten(1)
            total, count = total + values.double().sum(1), count + values.shape[1]
    return (total / count).float()
