"""The converter's barriers leave the file; what the user floors stays."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from edgewright.ir.errors import StepError
from edgewright.runtimes.flatbuffer.barriers import BARRIER, remove_barriers
from edgewright.runtimes.flatbuffer.graph import Model, operators, outputs

WAYS = {
    "right behind": [(BARRIER, "scores", "b"), ("RELU", "b", "c")],
    "turned before": [("RESHAPE", "scores", "b"), (BARRIER, "b", "c")],
}
"""Operators behind the one that dequantizes the scores, what they read and what they give."""


def model_of(tflite_models: ModuleType, steps: list[tuple[str, str, str]]) -> Any:
    made = [tflite_models.Step(name, (given,), (result,)) for name, given, result in steps]
    more = [tflite_models.Value(result, (1, 4, 4, 4)) for _, _, result in steps]
    return tflite_models.convolution(extra=made, more=more)


@pytest.mark.parametrize("way", WAYS)
def test_a_floor_of_what_was_dequantized_goes(way: str, tflite_models: ModuleType) -> None:
    model: Model = model_of(tflite_models, WAYS[way])
    before = [step.name for step in operators(model)]
    remove_barriers(model, 1)
    assert [step.name for step in operators(model)] == [name for name in before if name != BARRIER]
    for step in operators(model):
        assert all(tensor.index < len(model.subgraphs[0].tensors) for tensor in (*step.present, *step.outputs))
    assert outputs(model)


def test_the_users_own_floor_stays(tflite_models: ModuleType) -> None:
    steps = [(BARRIER, "scores", "b"), (BARRIER, "b", "c")]
    model = model_of(tflite_models, steps)
    remove_barriers(model, 1)
    assert [step.name for step in operators(model)].count(BARRIER) == 1


@pytest.mark.parametrize(("count", "found"), [(2, 1), (1, 0)])
def test_a_barrier_that_is_lost_is_an_error(count: int, found: int, tflite_models: ModuleType) -> None:
    steps = WAYS["right behind"] if found else [("RELU", "scores", "a"), (BARRIER, "a", "b")]
    with pytest.raises(StepError, match=f"expected {count} places .* found {found}"):
        remove_barriers(model_of(tflite_models, steps), count)
