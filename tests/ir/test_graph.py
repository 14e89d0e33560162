"""Helpers on the exported graph, and what an edited graph is once it is lifted."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from edgewright.ir.graph import (
    add_tensor,
    editable,
    export,
    fixed_batch,
    has_open_batch,
    is_constant,
    is_float_tensor,
    lifted,
    module_names,
    nodes_in,
    operator,
    outputs_of,
    read_tensor,
    sizes,
    tensor_of,
    unwarned,
    up_to,
    user_inputs,
    with_tensors,
)
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

GIVEN = (torch.randn(2, 4), torch.arange(2))


class Network(nn.Module):
    """Nested modules, a layer called twice, a buffer, parts of a split, a whole number and an output given twice."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
        self.twice = nn.Linear(4, 4)
        self.register_buffer("offset", torch.ones(4))

    def forward(self, x: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        left, right = self.body(x).chunk(2, 1)
        y = self.twice(self.twice(left) + right * self.offset)
        return y, y, index + 1


@pytest.fixture
def program() -> ExportedProgram:
    return export(Network().eval(), GIVEN, open_batch=True)


@pytest.fixture
def module(program: ExportedProgram) -> GraphModule:
    return editable(program)


def named(module: GraphModule, name: str) -> list[Node]:
    return [node for node in module.graph.nodes if operator(node) == name]


def same(found: ExportedProgram, *given: Tensor) -> bool:
    """Whether the program computes what the network computes."""
    expected = Network().eval()(*given)
    return all(map(torch.equal, found.module()(*given), expected))


def test_operators_have_the_names_that_aten_gives_them(module: GraphModule) -> None:
    names = [operator(node) for node in module.graph.nodes if node.op == "call_function"]
    assert names == [
        "linear", "relu", "chunk", "getitem", "getitem", "linear", "mul", "add", "linear", "add"
    ]  # fmt: skip
    assert {operator(node) for node in module.graph.nodes if node.op != "call_function"} == {""}


def test_values_are_told_apart(module: GraphModule) -> None:
    whole = named(module, "add")[-1]
    assert is_float_tensor(named(module, "mul")[0])
    assert not is_float_tensor(whole)
    assert not is_float_tensor(named(module, "chunk")[0])
    assert not is_float_tensor(3)
    constants = [node for node in module.graph.nodes if is_constant(node)]
    assert {str(node.target) for node in constants} == {
        "body.0.weight", "body.0.bias", "twice.weight", "twice.bias", "offset"
    }  # fmt: skip
    assert not is_constant(1.0)
    assert all(torch.equal(tensor_of(module, node), Network().state_dict()[str(node.target)]) for node in constants)


def test_nodes_know_the_users_modules(module: GraphModule) -> None:
    first, second, third = named(module, "linear")
    assert module_names(first) == ("body", "body.0")
    assert module_names(second) == module_names(third) == ("twice",)
    assert module_names(named(module, "mul")[0]) == ()


def test_nodes_in_arguments(module: GraphModule) -> None:
    one, *_ = named(module, "mul")
    assert nodes_in(one) == (one,)
    assert nodes_in([one, 3, one]) == (one, one)
    assert nodes_in(3) == nodes_in([3]) == ()


def test_inputs_and_outputs_stand_in_order(program: ExportedProgram, module: GraphModule) -> None:
    assert [node.name for node in user_inputs(program)] == ["x", "index"]
    assert [sizes(node) for node in user_inputs(program)] == [(None, 4), (None,)]
    first, second, third = outputs_of(module.graph)
    assert first is second is named(module, "linear")[-1]
    assert third is named(module, "add")[-1]


def test_the_batch_is_open_or_fixed() -> None:
    assert has_open_batch(export(Network().eval(), GIVEN, open_batch=True))
    fixed = export(Network().eval(), GIVEN, open_batch=False)
    assert not has_open_batch(fixed)
    assert sizes(user_inputs(fixed)[0]) == (2, 4)
    assert fixed_batch(fixed) == 2
    assert fixed_batch(export(Network().eval(), GIVEN, open_batch=True)) is None


def test_edits_leave_the_program_alone(program: ExportedProgram, module: GraphModule) -> None:
    before = str(program.graph)
    (product,) = named(module, "mul")
    product.replace_all_uses_with(product.args[0])
    module.register_buffer("offset", torch.zeros(4))
    assert str(program.graph) == before
    assert same(program, *GIVEN)


def test_tensors_are_added_under_names_of_their_own(module: GraphModule) -> None:
    assert add_tensor(module, "body.0.weight", "scale", torch.ones(1)) == "body.0.scale"
    assert add_tensor(module, "body.0.bias", "scale", torch.zeros(1)) == "body.0.scale_2"
    assert add_tensor(module, "body.0.weight", "weight", torch.ones(1)) == "body.0.weight_2"
    assert add_tensor(module, "offset", "offset", torch.ones(1)) == "offset_2"
    assert torch.equal(module.get_buffer("body.0.scale_2"), torch.zeros(1))
    with module.graph.inserting_before(named(module, "mul")[0]):
        node = read_tensor(module, "body.0.scale")
    assert is_constant(node)
    assert is_float_tensor(node)
    assert torch.equal(tensor_of(module, node), torch.ones(1))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_what_is_lifted_unchanged_computes_the_same_for_every_batch(program: ExportedProgram, count: int) -> None:
    after = lifted(editable(program), program)
    assert has_open_batch(after)
    assert same(after, torch.randn(count, 4), torch.arange(count))
    assert set(after.state_dict) == set(Network().state_dict())


def test_a_program_with_other_tensors_has_copies_and_leaves_the_old_one(program: ExportedProgram) -> None:
    names = {"offset": torch.full((4,), 7.0), "twice.weight": torch.zeros(4, 4)}
    before = {name: tensor.clone() for name, tensor in program.state_dict.items()}
    after = with_tensors(program, names)
    for name, tensor in after.state_dict.items():
        assert torch.equal(tensor, names.get(name, before[name]))
        assert isinstance(tensor, nn.Parameter) == isinstance(program.state_dict[name], nn.Parameter)
        assert torch.equal(program.state_dict[name], before[name])
    names["offset"].zero_()
    assert float(after.state_dict["offset"][0]) == 7


def test_an_edited_graph_is_lifted_with_values_for_its_new_nodes(program: ExportedProgram, tmp_path: Path) -> None:
    module = editable(program)
    (product,) = named(module, "mul")
    with module.graph.inserting_before(product):
        scale = read_tensor(module, add_tensor(module, "offset", "scale", torch.full((4,), 3.0)))
        longer = module.graph.call_function(torch.ops.aten.mul.Tensor, (product.args[0], scale))
    product.replace_all_uses_with(longer)
    after = lifted(module, program)
    assert set(after.state_dict) == {*Network().state_dict(), "scale"} - {"offset"}
    added = next(node for node in after.graph.nodes if node.name == longer.name)
    assert sizes(added) == (None, 4)
    changed = Network().eval()
    changed.offset.fill_(3.0)
    torch.export.save(after, tmp_path / "after.pt2")
    for each in (after, torch.export.load(tmp_path / "after.pt2")):
        assert all(map(torch.equal, each.module()(*GIVEN), changed(*GIVEN)))


def test_a_graph_can_be_lifted_again_and_again(program: ExportedProgram) -> None:
    for _ in range(3):
        program = lifted(editable(program), program)
    assert same(program, *GIVEN)


def test_stored_tensors_that_nothing_reads_are_left_behind(program: ExportedProgram) -> None:
    module = editable(program)
    (product,) = named(module, "mul")
    product.replace_all_uses_with(product.args[0])
    assert "offset" not in lifted(module, program).state_dict


class Named(nn.Module):
    """Layers whose names are no words of Python, or become the same one ("a_b" in "c", "b_c" in "a")."""

    def __init__(self) -> None:
        super().__init__()
        self.add_module("block1-0", nn.Linear(4, 4))
        self.add_module("a", nn.ModuleDict({"b_c": nn.Linear(4, 4)}))
        self.add_module("a_b", nn.ModuleDict({"c": nn.Linear(4, 4)}))

    def forward(self, x: Tensor) -> Tensor:
        for name in ("block1-0", "a.b_c", "a_b.c"):
            x = self.get_submodule(name)(x)
        return x


def test_modules_of_any_name_can_be_lifted() -> None:
    network, x = Named().eval(), torch.randn(2, 4)
    program = export(network, (x,), open_batch=True)
    after = lifted(editable(program), program)
    assert set(after.state_dict) == set(network.state_dict())
    assert torch.equal(after.module()(x), network(x))


def test_parameters_stay_parameters_and_buffers_buffers(program: ExportedProgram) -> None:
    after = lifted(editable(program), program)
    assert set(after.graph_signature.parameters) == {name for name, _ in Network().named_parameters()}
    assert set(after.graph_signature.buffers) == {"offset"}


def test_warnings_that_no_user_can_act_on_are_not_shown() -> None:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        with unwarned():
            warnings.warn("a coming version", FutureWarning, stacklevel=1)
            warnings.warn("something to act on", UserWarning, stacklevel=1)
    assert [str(warning.message) for warning in heard] == ["something to act on"]


def test_the_graph_up_to_a_node_gives_its_value_from_the_same_inputs() -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    module = editable(export(network, (GIVEN[0],), open_batch=False))
    middle = next(node for node in module.graph.nodes if operator(node) == "relu")
    torch.testing.assert_close(up_to(module, middle)(GIVEN[0]), network[1](network[0](GIVEN[0])))
