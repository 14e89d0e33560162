"""The program with the kernels' integers: equal, to the bit, to the interpreters whose kernels they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from edgewright.ir.state import InputSpec, ModelState
from edgewright.passes import manager
from edgewright.passes.calibrate import Calibrate
from edgewright.passes.export import Export
from edgewright.passes.fold_batchnorm import FoldBatchnorm
from edgewright.passes.insert_quantization import InsertQuantization
from edgewright.quantization.fixed_point import Ties
from edgewright.quantization.integer_graph import Kernels, is_to_the_bit, with_integer_kernels
from edgewright.runtimes.tflite import MODEL, TfliteEmitter
from edgewright.targets import load_target
from torch import Tensor, nn
from torch.nn import functional

SHAPE = (3, 16, 16)
SAMPLES = 64
TARGET = load_target("arm64-cortex-a72", Path("/"))


class Network(nn.Module):
    """Convolutions of every kind, with an activation and without, sums, padded windows, a mean, narrow linear layers.

    tests/runtimes/test_tflite.py asks the same of every network that it converts.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first, self.depthwise = nn.Conv2d(3, 24, 3, 2, 1), nn.Conv2d(24, 24, 3, padding=1, groups=24)
        self.grouped, self.last = nn.Conv2d(24, 24, 3, padding=1, groups=4), nn.Conv2d(24, 24, 1)
        self.narrow, self.head = nn.Linear(24, 6, bias=False), nn.Linear(6, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.relu(self.first(x))
        x = functional.relu6(x + self.depthwise(x))
        x = x - self.last(self.grouped(x))
        return functional.avg_pool2d(x, 3, 2, 1), self.head(self.narrow(x.mean((2, 3))))


State = Callable[[nn.Module], ModelState]


@pytest.fixture
def quantized(make_recipe: Any, make_context: Any) -> State:
    """quantized(module): the module on int8 grids, as a TFLite file is emitted from it."""

    def run(module: nn.Module) -> ModelState:
        recipe = make_recipe(compress={"quantize": {"calibration": {"samples": SAMPLES}}})
        context = make_context(calibration=(images(SAMPLES, 1), torch.zeros(SAMPLES, dtype=torch.long)))
        state = ModelState((InputSpec("image", (1, *SHAPE)),), module=module.eval())
        for kind in (Export, FoldBatchnorm, Calibrate, InsertQuantization):
            step: Any = kind.for_target(TARGET, recipe) if kind is not FoldBatchnorm else FoldBatchnorm()
            state = manager.run(step, state, context)
        return state

    return run


def images(count: int, seed: int) -> Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def state(quantized: State) -> ModelState:
    torch.manual_seed(0)
    return quantized(Network())


@pytest.mark.slow
def test_every_value_is_the_interpreters(state: ModelState, integer_kernels: ModuleType, tmp_path: Path) -> None:
    if not (places := integer_kernels.interpreters()):
        pytest.skip("no interpreter is here whose kernels are known: they are those of x86-64 with AVX2")
    samples = images(SAMPLES, 2)
    emitted = TfliteEmitter().emit(state, TARGET, tmp_path)
    once = integer_kernels.computed(state.callable_module(), samples)
    for kernels, place in places.items():
        answers = integer_kernels.answers(kernels, place, state, tmp_path / MODEL, emitted.ports, samples)
        for found, wanted, other in zip(*answers, once, strict=True):
            assert np.array_equal(found, wanted), (
                f"{kernels.value}: {(found != wanted).mean():.3%} of the values differ"
            )
            assert not np.array_equal(found, other), "a network that rounding makes no difference to"


@pytest.mark.parametrize(("activation", "is_known"), [(nn.ReLU(), True), (nn.Hardswish(), False)], ids=str)
def test_a_hard_swish_is_not_known_to_the_bit(activation: nn.Module, is_known: bool) -> None:
    program = torch.export.export(nn.Sequential(nn.Conv2d(3, 4, 3), activation).eval(), (torch.zeros(1, *SHAPE),))
    assert is_to_the_bit(program) == is_known


def test_the_program_itself_stays_as_it_is(state: ModelState, integer_kernels: ModuleType) -> None:
    samples = images(8, 2)
    before = integer_kernels.computed(state.callable_module(), samples)
    with_integer_kernels(state.exported_program(), Kernels.OLD_ARM)
    assert all(map(np.array_equal, integer_kernels.computed(state.callable_module(), samples), before))


def test_each_kind_of_kernels_puts_ties_elsewhere(state: ModelState, integer_kernels: ModuleType) -> None:
    program, samples = state.exported_program(), images(SAMPLES, 2)
    answers = [integer_kernels.computed(with_integer_kernels(program, kernels), samples)[-1] for kernels in Kernels]
    assert all(not np.array_equal(one, other) for one in answers for other in answers if one is not other)


def test_on_arm_products_with_a_vector_round_as_on_x86() -> None:
    """The shapes are those at which the kernel for a matrix and one vector begins."""
    arm = Kernels.OLD_ARM
    assert arm.product_ties(rows=4, depth=8, columns=1) is Ties.UP
    assert {arm.product_ties(*shape) for shape in ((3, 8, 1), (4, 7, 1), (4, 8, 2))} == {Ties.AWAY}
    assert Kernels.OLD_X86.product_ties(3, 7, 2) is Kernels.NEW_X86.product_ties(3, 7, 2) is Ties.UP
