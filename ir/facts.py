"""Facts that can be true of a model, and the aspects of it that they rest on.

A pass says which aspects it touches and which facts it makes; which facts it ends follows from that, so that a new
pass or a new fact never means editing the old ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from .rounding import has_learned_rounding
from .sharing import has_shared_weights
from .sparsity import is_sparse
from .zeros import has_pruned_elements

if TYPE_CHECKING:
    from .state import ModelState


class Aspect(Enum):
    """A part of a model that a pass can touch."""

    TOPOLOGY = "topology"  # which operators there are and what feeds what
    ZEROS = "zeros"  # which weights are zero
    VALUES = "values"  # which values the weights take (clusters, grids)
    FUNCTION = "function"  # what the model computes
    SHAPES = "shapes"  # how large the tensors are
    LAYOUT = "layout"  # in which order a tensor's axes lie in memory
    RANGES = "ranges"  # between which bounds the activations lie
    NUMERICS = "numerics"  # in which number format the values are held


@dataclass(frozen=True)
class Fact:
    """Something true of a model until a pass touches an aspect in `rests_on` and neither makes nor keeps the fact.

    `holds`, where there is one, looks at the model and says whether the fact is true; the pass manager asks it of
    every fact that a pass claims to make.
    """

    name: str
    rests_on: frozenset[Aspect]
    holds: Callable[[ModelState], bool] | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return self.name


def _is_exported(state: ModelState) -> bool:
    return state.program is not None


def _has_no_batchnorm(state: ModelState) -> bool:
    return state.program is not None and not any("batch_norm" in str(node.target) for node in state.program.graph.nodes)


def _has_ranges(state: ModelState) -> bool:
    return bool(state.attachments.get("ranges"))


def _has_trained_scales(state: ModelState) -> bool:
    return bool(state.attachments.get("weight_scales"))


def _has_quantize_nodes(state: ModelState) -> bool:
    if state.attachments.get("stored_weights", {}).get("group"):
        return True  # weights on grids of their groups, without nodes
    return state.program is not None and any("quantize_per" in str(node.target) for node in state.program.graph.nodes)


def _is_halved(state: ModelState) -> bool:
    return "halved" in state.attachments


CHANNELS_PRUNED = Fact("channels pruned", frozenset({Aspect.SHAPES}))
BLOCKS_PRUNED = Fact("blocks pruned", frozenset())
"""Rests on nothing: no pass brings back what is gone."""
FACTORIZED = Fact("factorized", frozenset({Aspect.SHAPES}))
"""Layers are products of smaller ones wherever that pays, which may be nowhere."""
SPARSE_2_4 = Fact("2:4 sparse", frozenset({Aspect.ZEROS, Aspect.SHAPES}), is_sparse)
ELEMENTS_PRUNED = Fact("elements pruned", frozenset({Aspect.ZEROS, Aspect.SHAPES}), has_pruned_elements)
WEIGHTS_SHARED = Fact("weights shared", frozenset({Aspect.VALUES, Aspect.SHAPES}), has_shared_weights)
RECOVERED = Fact("recovered", frozenset({Aspect.FUNCTION}))
EXPORTED = Fact("exported", frozenset(Aspect) - {Aspect.NUMERICS}, _is_exported)
BATCHNORM_FOLDED = Fact("batchnorm folded", frozenset({Aspect.TOPOLOGY}), _has_no_batchnorm)
RANGES_CALIBRATED = Fact(
    "ranges calibrated", frozenset({Aspect.RANGES, Aspect.FUNCTION, Aspect.TOPOLOGY, Aspect.SHAPES}), _has_ranges
)
QUANTIZATION_TRAINED = Fact(
    "quantization trained", frozenset({Aspect.RANGES, Aspect.FUNCTION, Aspect.TOPOLOGY}), _has_trained_scales
)
RANGES_EQUALIZED = Fact("ranges equalized", frozenset({Aspect.TOPOLOGY, Aspect.SHAPES}))
"""Tried, and kept where it helped; so too the next three."""
ACTIVATIONS_SCALED = Fact("activations scaled", frozenset({Aspect.TOPOLOGY, Aspect.SHAPES}))
PRECISION_CHOSEN = Fact("precision chosen", frozenset({Aspect.TOPOLOGY, Aspect.SHAPES}))
BIAS_CORRECTED = Fact("bias corrected", frozenset({Aspect.VALUES, Aspect.SHAPES, Aspect.NUMERICS}))
ROUNDING_LEARNED = Fact(
    "rounding learned", frozenset({Aspect.VALUES, Aspect.SHAPES, Aspect.NUMERICS}), has_learned_rounding
)
QUANTIZED = Fact("quantized", frozenset({Aspect.NUMERICS, Aspect.TOPOLOGY, Aspect.SHAPES}), _has_quantize_nodes)
HALVED = Fact("halved", frozenset({Aspect.NUMERICS, Aspect.TOPOLOGY, Aspect.SHAPES}), _is_halved)

FACTS: tuple[Fact, ...] = (
    CHANNELS_PRUNED,
    BLOCKS_PRUNED,
    FACTORIZED,
    SPARSE_2_4,
    ELEMENTS_PRUNED,
    WEIGHTS_SHARED,
    RECOVERED,
    EXPORTED,
    BATCHNORM_FOLDED,
    RANGES_CALIBRATED,
    QUANTIZATION_TRAINED,
    RANGES_EQUALIZED,
    ACTIVATIONS_SCALED,
    PRECISION_CHOSEN,
    BIAS_CORRECTED,
    ROUNDING_LEARNED,
    QUANTIZED,
    HALVED,
)
