"""export: an open batch where the code allows one, a fixed one where it does not, and errors that name a line."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from edgewright.ir.errors import StepError
from edgewright.ir.facts import EXPORTED
from edgewright.ir.graph import has_open_batch, operator, sizes, user_inputs
from edgewright.ir.state import InputSpec, ModelState
from edgewright.passes.export import Export
from edgewright.targets import Target
from torch import Tensor, nn

KINDS = [
    "Plain", "Flattened", "Residual", "PaddedResidual", "DepthwiseSeparable", "Grouped", "Dense", "SqueezeExcite",
    "Shuffled", "Attention", "Perceptron",
]  # fmt: skip


def images(count: int) -> Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def specs(batch: int | None) -> tuple[InputSpec, ...]:
    return (InputSpec("image", (batch, 3, 16, 16)),)


def agree(found: Tensor, expected: Tensor) -> bool:
    """Whether the outputs are as close as the pass declares."""
    return bool((found - expected).abs().max() <= Export.numerics.relative * expected.abs().max())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [None, 1])
def test_the_batch_stays_open_and_the_outputs_stay(
    kind: str, batch: int | None, networks: ModuleType, carry_out: Callable[..., ModelState]
) -> None:
    network = networks.random(getattr(networks, kind))
    state = carry_out(network, Export(), specs=specs(batch))
    assert EXPORTED in state.facts
    assert state.module is None
    assert has_open_batch(state.exported_program())
    computed = state.callable_module()
    assert all(agree(computed(images(count)), network(images(count))) for count in (1, 2, 5))


def test_evaluation_mode_is_what_is_exported(networks: ModuleType, make_context: Any) -> None:
    network = nn.Sequential(networks.random(networks.Plain), nn.Dropout())
    expected = network.eval()(images(2))
    state = Export().run(ModelState(specs(None), network.train()), make_context())
    assert agree(state.callable_module()(images(2)), expected)


class Counted(nn.Module):
    """Its code takes batches of `size` alone."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.head = size, nn.Linear(768, 10)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.head(x.reshape(self.size, 768))
        return outputs


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_a_batch_that_the_code_fixes_stays_fixed_and_the_history_says_so(
    batch: int, carry_out: Callable[..., ModelState]
) -> None:
    network = Counted(batch)
    state = carry_out(network, Export(), specs=specs(batch))
    program = state.exported_program()
    assert not has_open_batch(program)
    assert sizes(user_inputs(program)[0]) == (batch, 3, 16, 16)
    assert agree(state.callable_module()(images(batch)), network(images(batch)))
    (note,) = state.history[-1].notes
    # torch says so itself where the batch that it tries is the one that the code takes
    reason = (
        r"its code .* one size only" if batch == 2 else r"test_export\.py:\d+ \(outputs: .*\): shape .* is invalid.*"
    )
    assert re.fullmatch(f"the batch is fixed at {batch}: {reason}", note)


@pytest.fixture
def network_error(make_context: Any) -> Callable[[nn.Module, int | None], str]:
    """The message of the StepError that exporting ends with."""

    def run(network: nn.Module, batch: int | None) -> str:
        with pytest.raises(StepError) as caught:
            Export().run(ModelState(specs(batch), network.eval()), make_context())
        return str(caught.value)

    return run


def test_an_open_batch_that_the_code_does_not_take_needs_a_fixed_one(
    network_error: Callable[[nn.Module, int | None], str],
) -> None:
    message = network_error(Counted(2), None)
    assert message == "export: its code takes batches of one size only; a fixed batch in model.inputs may help"


class Branching(nn.Module):
    """What it computes depends on the values of its input."""

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return x + 1
        return x - 1


class Failing(nn.Module):
    """Fails in a function that forward calls."""

    def forward(self, x: Tensor) -> Tensor:
        return self.join(x)

    def join(self, x: Tensor) -> Tensor:
        raise LookupError("no such feature")


@pytest.mark.parametrize("batch", [None, 2])
@pytest.mark.parametrize(
    ("network", "line", "reason"),
    [(Branching(), "if x.sum() > 0:", "data-dependent"), (Failing(), "return self.join(x)", "no such feature")],
)
def test_what_cannot_be_traced_is_named_with_its_line(
    network: nn.Module,
    line: str,
    reason: str,
    batch: int | None,
    network_error: Callable[[nn.Module, int | None], str],
) -> None:
    source, first = inspect.getsourcelines(type(network).forward)
    number = first + next(index for index, text in enumerate(source) if line in text)
    message = network_error(network, batch)
    assert f"test_export.py:{number} ({line}): " in message
    assert reason in message.lower()
    assert "\n" not in message


def test_several_inputs_of_several_kinds(make_context: Any) -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.join = nn.Embedding(20, 8), nn.Linear(8 + 3, 4)

        def forward(self, tokens: Tensor, weights: Tensor) -> Tensor:
            outputs: Tensor = self.join(torch.cat([self.embed(tokens).mean(1), weights], 1))
            return outputs

    network = Tokens().eval()
    inputs = (InputSpec("tokens", (None, 5), "int64"), InputSpec("weights", (None, 3)))
    state = Export().run(ModelState(inputs, network), make_context())
    given = (torch.randint(0, 20, (4, 5)), torch.randn(4, 3))
    assert agree(state.callable_module()(*given), network(*given))
    assert [sizes(node) for node in user_inputs(state.exported_program())] == [(None, 5), (None, 3)]


def test_in_place_operators_are_gone(carry_out: Callable[..., ModelState]) -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            y = nn.functional.relu(self.first(x), inplace=True)
            y += self.second(y)
            return y

    network = InPlace().eval()
    state = carry_out(network, Export())
    names = [operator(node) for node in state.exported_program().graph.nodes if operator(node)]
    assert names == ["conv2d", "relu", "conv2d", "add"]
    assert agree(state.callable_module()(images(2)), network(images(2)))


def test_every_target_and_recipe_has_it(target: Target, make_recipe: Any) -> None:
    assert Export.for_target(target, make_recipe()) == Export()
