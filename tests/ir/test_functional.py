"""Functional graphs: what they compute is what the code computed, whatever it changed in place."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from edgewright.ir.errors import StepError
from edgewright.ir.functional import functional
from edgewright.ir.graph import editable, export, lifted, operator
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils._pytree import tree_leaves

IMAGE = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Network(nn.Module):
    """A convolution, every kind of dropout and a buffer, put together by the function that a test writes."""

    def __init__(self, forward: Callable[[Network, Tensor], object]) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.dropouts = nn.Sequential(
            nn.Dropout(), nn.Dropout2d(), nn.AlphaDropout(), nn.FeatureAlphaDropout(), nn.Dropout(inplace=True)
        )
        self.register_buffer("calls", torch.zeros(()))
        self._forward = forward

    def forward(self, x: Tensor) -> object:
        return self._forward(self, x)


def traced(forward: Callable[[Network, Tensor], object]) -> tuple[Network, ExportedProgram]:
    torch.manual_seed(0)
    network = Network(forward).eval()
    return copy.deepcopy(network), functional(export(network, (IMAGE.clone(),), open_batch=True))


def operators(program: ExportedProgram) -> list[str]:
    return [operator(node) for node in program.graph.nodes if operator(node)]


def changed_in_place(change: Callable[[Tensor], object]) -> Callable[[Network, Tensor], Tensor]:
    """A network that reads a tensor before and after it is changed."""

    def forward(net: Network, x: Tensor) -> Tensor:
        y = net.convolution(x)
        before = y + 1
        change(y)
        return before * y

    return forward


def assign(y: Tensor) -> None:
    y[:, 1:3] = y[:, :2] * 2


def assign_where(y: Tensor) -> None:
    y[y < 0] = 0.5


CHANGES: dict[str, Callable[[Tensor], object]] = {
    "relu": torch.relu_,
    "activation": lambda y: nn.functional.hardswish(y, inplace=True),
    "chain": lambda y: y.add_(1).mul_(2).clamp_(0, 1),
    "fill": lambda y: y.masked_fill_(y > 0, 1.0),
    "zero": lambda y: y.zero_(),
    "assignment": assign,
    "masked assignment": assign_where,
    "view": lambda y: y.flatten(1).relu_(),
    "new axis": lambda y: y.unsqueeze(1).relu_(),
    "same memory": lambda y: y.contiguous().relu_(),
    "detached": lambda y: y.detach().relu_(),
    "moved axis": lambda y: y.movedim(1, 2).relu_(),
    "diagonal": lambda y: torch.diagonal(y, 0, 2, 3).relu_(),
    "view of a view": lambda y: y.transpose(1, 2)[:, 0].relu_(),
    "identity": lambda y: nn.Identity()(y).relu_(),
    "inactive dropout": lambda y: nn.functional.dropout(y, training=False).relu_(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_was_changed_in_place_is_computed_and_read_as_before(change: Callable[[Tensor], object]) -> None:
    network, program = traced(changed_in_place(change))
    assert torch.equal(program.module()(IMAGE.clone()), network(IMAGE.clone()))
    assert not [name for name in operators(program) if name.endswith("_")]


def test_what_was_read_through_a_view_before_the_change_keeps_following_it() -> None:
    def forward(net: Network, x: Tensor) -> Tensor:
        y = net.convolution(x)
        top = y[:, :2]
        y.relu_()
        return top

    network, program = traced(forward)
    assert torch.equal(program.module()(IMAGE), network(IMAGE))


def test_a_copy_does_not_follow() -> None:
    def forward(net: Network, x: Tensor) -> Tensor:
        y = net.convolution(x)
        return y.clone().relu_() * y

    network, program = traced(forward)
    assert torch.equal(program.module()(IMAGE), network(IMAGE))
    assert operators(program) == ["conv2d", "relu", "mul"]


@pytest.mark.parametrize(("call", "plain"), [
    (lambda x: torch.swapaxes(x, 1, 2), "transpose"),
    (lambda x: torch.swapdims(x, 1, 3), "transpose"),
    (lambda x: torch.concat([x, x], 1), "cat"),
    (lambda x: torch.concatenate([x, x], 1), "cat"),
    (lambda x: torch.clip(x, 0, 1), "clamp"),
    (lambda x: torch.clip(x, x, 2 * x), "clamp"),
    (lambda x: torch.multiply(x, x), "mul"),
    (lambda x: torch.multiply(x, 3), "mul"),
    (lambda x: torch.subtract(x, x, alpha=2), "sub"),
    (lambda x: torch.divide(x, 3), "div"),
    (lambda x: torch.true_divide(x, x), "div"),
])  # fmt: skip
def test_an_operator_has_one_name(call: Callable[[Tensor], Tensor], plain: str) -> None:
    network = Network(lambda self, x: call(self.convolution(x))).eval()
    program = functional(export(network, (IMAGE,), open_batch=True))
    names = [operator(node) for node in program.graph.nodes if operator(node)]
    assert plain in names
    assert set(names) <= {"conv2d", "mul", plain}
    torch.testing.assert_close(program.module()(IMAGE), network(IMAGE), equal_nan=True)


def test_dropout_of_every_kind_is_gone() -> None:
    def forward(net: Network, x: Tensor) -> Tensor:
        return net.dropouts(net.convolution(x))

    network, program = traced(forward)
    assert operators(program) == ["conv2d"]
    assert torch.equal(program.module()(IMAGE), network(IMAGE))


def test_dropout_is_gone_where_the_graph_had_to_be_taken_apart() -> None:
    def forward(net: Network, x: Tensor) -> Tensor:
        y = net.convolution(x)
        y[:, :1] = 0
        return net.dropouts(y)

    network, program = traced(forward)
    assert torch.equal(program.module()(IMAGE), network(IMAGE))
    assert not [name for name in operators(program) if "dropout" in name or name == "clone"]


def test_dropout_that_stays_on_is_refused_with_its_line() -> None:
    def forward(net: Network, x: Tensor) -> Tensor:
        return nn.functional.dropout(net.convolution(x))

    with pytest.raises(StepError, match=r"test_functional\.py:\d+ \(.*\): dropout stays on in evaluation mode"):
        traced(forward)


def test_a_call_leaves_its_inputs_alone() -> None:
    def forward(net: Network, x: Tensor) -> Tensor:
        x.sub_(0.5)
        x[:, 0].mul_(2)
        return net.convolution(x)

    network, program = traced(forward)
    given = IMAGE.clone()
    outputs = program.module()(given)
    assert torch.equal(given, IMAGE)
    assert torch.equal(outputs, network(given))


def test_a_count_of_calls_is_dropped_where_no_answer_depends_on_it() -> None:
    def forward(net: Network, x: Tensor) -> Tensor:
        net.calls += 1
        return net.convolution(x)

    network, program = traced(forward)
    assert operators(program) == ["conv2d"]
    assert torch.equal(program.module()(IMAGE), network(IMAGE))


def test_answers_that_depend_on_earlier_calls_are_refused() -> None:
    def forward(net: Network, x: Tensor) -> Tensor:
        net.calls += 1
        return net.convolution(x) * net.calls

    with pytest.raises(StepError, match="each call changes the buffer 'calls' and reads what earlier calls left"):
        traced(forward)


OUTPUTS: dict[str, Callable[[Network, Tensor], object]] = {
    "in place": lambda net, x: nn.functional.relu(net.convolution(x), inplace=True),
    "dropout": lambda net, x: net.dropouts(net.convolution(x)),
    "the input": lambda net, x: (net.dropouts(x), net.convolution(x)),
    "twice": lambda net, x: [y := net.convolution(x), y],
    "beside nothing": lambda net, x: (net.convolution(x), None),
    "beside a number": lambda net, x: {"scores": net.convolution(x), "version": 3},
    "nested": lambda net, x: {"scores": [net.convolution(x), (x,)]},
    "changed": lambda net, x: (y := net.convolution(x), y.relu_()),
}


@pytest.mark.parametrize("forward", OUTPUTS.values(), ids=OUTPUTS)
def test_outputs_are_those_of_the_code_even_when_stored(
    forward: Callable[[Network, Tensor], object], tmp_path: Path
) -> None:
    network, program = traced(forward)
    torch.export.save(program, tmp_path / "program.pt2")
    stored = torch.export.load(tmp_path / "program.pt2")
    expected = [leaf for leaf in tree_leaves(network(IMAGE.clone())) if isinstance(leaf, Tensor)]
    for each in (program, stored, lifted(editable(program), program)):
        found = tree_leaves(each.module()(IMAGE.clone()))
        assert all(map(torch.equal, found, expected))
        assert len(found) == len(expected) == len(each.graph_signature.user_outputs)


def test_a_network_that_gives_no_tensor_is_refused() -> None:
    with pytest.raises(StepError, match="export: the network gives no tensor"):
        traced(lambda net, x: None)
