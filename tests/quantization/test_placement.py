"""Placement on tiny graphs: what is held in int8, what shares a scale, what stays float and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from edgewright.ir.graph import editable, export, operator
from edgewright.quantization.placement import WEIGHTED, Placement, layer_name, matches, place, source
from edgewright.quantization.rules import Rules
from edgewright.targets import Target, load_target
from torch import Tensor, nn
from torch.fx import Graph, Node
from torch.nn import functional

IMAGE = torch.zeros(2, 3, 16, 16)


@pytest.fixture
def rules(target: Target) -> Rules:
    int8 = target.quantization.int8_static
    assert int8 is not None
    return Rules.of(int8)


class Network(nn.Module):
    """Four convolutions and a linear layer, put together by the function that a test writes."""

    def __init__(self, forward: Callable[[Network, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.block = nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU())
        self.blocked = nn.ConvTranspose2d(8, 8, 2)
        self.head = nn.Linear(8, 10)
        self.table = nn.Parameter(torch.zeros(8, 8, 3, 3))
        self._forward = forward

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(self, x)


def graph_of(forward: Callable[[Network, Tensor], Tensor] | nn.Module, open_batch: bool = True) -> Graph:
    module = forward if isinstance(forward, nn.Module) else Network(forward)
    return editable(export(module.eval(), (IMAGE,), open_batch)).graph


def nodes(graph: Graph, name: str) -> list[Node]:
    """The nodes of one operator in order; "placeholder" for the inputs."""
    return [node for node in graph.nodes if operator(node) == name or node.op == name]


def held(graph: Graph, placement: Placement) -> list[str]:
    """The operators whose results are held in int8, in order."""
    return [operator(node) or node.op for node in graph.nodes if node.name in placement.groups]


def test_the_quantize_node_goes_behind_the_relu(rules: Rules) -> None:
    graph = graph_of(lambda net, x: net.second(net.first(x).relu()).relu())
    placement = place(graph, rules)
    assert held(graph, placement) == ["placeholder", "relu", "relu"]
    assert placement.computed == {node.name for node in nodes(graph, "relu")}
    assert placement.consumers == {node.name for node in nodes(graph, "conv2d")}
    assert [layer.module for layer in placement.layers] == ["first", "second"]
    assert [layer.input for layer in placement.layers] == ["x", nodes(graph, "relu")[0].name]
    assert placement.left_float == {}


def test_a_runtime_that_fuses_no_relu_gets_its_quantize_node_before(rules: Rules) -> None:
    graph = graph_of(lambda net, x: net.second(net.first(x).relu()))
    placement = place(graph, replace(rules, fused_activations=()))
    assert held(graph, placement) == ["placeholder", "conv2d", "relu", "conv2d"]
    assert len(placement.observed) == 4


def test_an_activation_is_not_fused_where_others_read_its_input(rules: Rules) -> None:
    graph = graph_of(lambda net, x: (y := net.first(x)) + net.second(y.relu()))
    placement = place(graph, rules)
    assert nodes(graph, "conv2d")[0].name in placement.groups
    assert nodes(graph, "relu")[0].name not in placement.computed


def test_a_residual_sum_is_computed_in_int8_with_the_relu_behind_it(rules: Rules) -> None:
    def forward(net: Network, x: Tensor) -> Tensor:
        x = net.first(x).relu()
        return net.block(functional.relu(net.second(x) + x))

    graph = graph_of(forward)
    placement = place(graph, rules)
    (sum_,) = nodes(graph, "add")
    after = next(iter(sum_.users))
    assert sum_.name in placement.consumers
    assert sum_.name not in placement.groups
    assert after.name in placement.computed
    assert placement.groups[after.name] == after.name


@pytest.mark.parametrize(
    "add",
    [
        lambda net, x: x + 1.0,
        lambda net, x: x + net.table[:, 0, :1, :1],
        lambda net, x: torch.add(x, x, alpha=2),
        lambda net, x: x + functional.gelu(x),
    ],
    ids=["a number", "a stored tensor", "a factor", "a float branch"],
)
def test_a_sum_that_int8_kernels_do_not_take_stays_float(rules: Rules, add: Callable[..., Tensor]) -> None:
    graph = graph_of(lambda net, x: net.second(add(net, net.first(x).relu())))
    placement = place(graph, rules)
    (sum_,) = nodes(graph, "add")
    assert sum_.name not in placement.consumers
    assert sum_.name in placement.groups  # the convolution behind it reads int8
    assert sum_.name not in placement.computed


@pytest.mark.parametrize(
    "move",
    [
        lambda x: functional.max_pool2d(x, 3, 1, 1),
        lambda x: x.flatten(2).reshape(x.shape),
        lambda x: functional.pad(x, (1, 1, 0, 0))[..., 1:-1],
        lambda x: functional.pad(x, (1, 1, 0, 0), mode="reflect")[..., 1:-1],
        lambda x: x.transpose(2, 3),
        lambda x: x.transpose(2, 3).contiguous(),
        lambda x: x.permute(0, 1, 3, 2),
    ],
)
def test_what_only_moves_values_shares_its_inputs_scale(rules: Rules, move: Callable[[Tensor], Tensor]) -> None:
    graph = graph_of(lambda net, x: net.second(move(net.first(x).relu())))
    placement = place(graph, rules)
    relu = nodes(graph, "relu")[0].name
    read = placement.layers[1].input
    assert read != relu
    assert placement.groups[read] == placement.groups[relu] == relu
    assert read in placement.computed
    assert set(placement.observed) == {"x", relu, nodes(graph, "conv2d")[1].name}


def test_parts_of_a_split_share_the_whole_tensors_scale(rules: Rules) -> None:
    def forward(net: Network, x: Tensor) -> Tensor:
        left, right = net.first(x).relu().chunk(2, 1)
        return net.second(torch.cat([right, left], 1))

    graph = graph_of(forward)
    placement = place(graph, rules)
    relu = nodes(graph, "relu")[0].name
    assert {placement.groups[part.name] for part in nodes(graph, "getitem")} == {relu}
    assert nodes(graph, "chunk")[0].name in placement.consumers
    (joined,) = nodes(graph, "cat")
    assert placement.groups[joined.name] == joined.name  # a kernel: it has a scale of its own


def test_a_pad_with_something_else_than_zero_has_a_range_of_its_own(rules: Rules) -> None:
    graph = graph_of(lambda net, x: net.second(functional.pad(net.first(x).relu(), (1, 1, 1, 1), value=5.0)))
    (pad,) = nodes(graph, "pad")
    placement = place(graph, rules)
    assert placement.groups[pad.name] == pad.name
    assert pad.name not in placement.computed


def test_layers_that_the_recipe_keeps_stay_float_and_their_neighbours_do_not(rules: Rules) -> None:
    graph = graph_of(lambda net, x: net.blocked(net.second(net.block(net.first(x).relu()))).relu())
    placement = place(graph, replace(rules, kernels=(*rules.kernels, "conv_transpose2d")), keep_float=("block",))
    assert [layer.module for layer in placement.layers] == ["first", "second", "blocked"]
    assert placement.left_float == {"block.0": "the recipe keeps it in float"}
    (_, kept, _) = nodes(graph, "conv2d")
    assert kept.name not in placement.consumers
    between = nodes(graph, "relu")[1].name
    assert between in placement.groups  # `second` reads int8
    assert between not in placement.computed  # but `block` hands out float


def test_names_match_whole_parts() -> None:
    assert matches(["layer1", "layer1.0"], "layer1")
    assert matches(["layer1.0"], "layer1")
    assert not matches(["layer10", "layer10.0"], "layer1")
    assert not matches(["layer1"], "layer1.0")


def test_an_island_without_kernels_is_float_between_two_grids(rules: Rules) -> None:
    graph = graph_of(lambda net, x: net.second(functional.gelu(net.first(x)) * 2))
    placement = place(graph, rules)
    assert held(graph, placement) == ["placeholder", "conv2d", "mul", "conv2d"]
    first, last = nodes(graph, "conv2d")
    assert placement.computed == {first.name, last.name}
    assert placement.consumers == {first.name, last.name}


@pytest.mark.parametrize("size", [1, 2])
def test_a_pool_over_all_positions_is_an_int8_kernel_and_other_sizes_are_not(rules: Rules, size: int) -> None:
    graph = graph_of(lambda net, x: net.block(functional.adaptive_avg_pool2d(net.first(x).relu(), size)))
    placement = place(graph, rules)
    assert (nodes(graph, "adaptive_avg_pool2d")[0].name in placement.consumers) == (size == 1)


def test_a_concatenation_joins_only_where_all_its_parts_are_in_int8(rules: Rules) -> None:
    class Both(nn.Module):
        def __init__(self, is_float: bool) -> None:
            super().__init__()
            self.left, self.right, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(8, 4, 1)
            self.is_float = is_float

        def forward(self, x: Tensor) -> Tensor:
            right = self.right(x)
            return self.last(torch.cat([self.left(x), functional.gelu(right) if self.is_float else right], 1))

    for is_float in (False, True):
        graph = graph_of(Both(is_float))
        assert (nodes(graph, "cat")[0].name in place(graph, rules).consumers) != is_float


def test_the_last_linear_layer_hands_out_float_and_its_range_is_observed(rules: Rules) -> None:
    graph = graph_of(lambda net, x: net.head(functional.adaptive_avg_pool2d(net.first(x).relu(), 1).flatten(1)))
    placement = place(graph, rules)
    (linear,) = nodes(graph, "linear")
    assert linear.name not in placement.groups
    assert placement.observed[linear.name] == linear.name
    assert [layer.module for layer in placement.layers] == ["first", "head"]
    always = place(graph, replace(rules, float_outputs=()))
    assert always.groups[linear.name] == linear.name


def test_a_linear_layer_between_int8_layers_is_held_in_int8(rules: Rules) -> None:
    graph = graph_of(nn.Sequential(nn.Flatten(), nn.Linear(768, 16), nn.ReLU(), nn.Linear(16, 4), nn.Softmax(1)))
    placement = place(graph, rules)
    assert held(graph, placement) == ["placeholder", "flatten", "relu"]
    assert len(set(placement.groups.values())) == 2
    assert len(placement.layers) == 2


def test_a_kernel_of_which_only_the_output_is_left_stays_float(rules: Rules) -> None:
    graph = graph_of(lambda net, x: net.second(net.first(x).relu()).sigmoid())
    placement = place(graph, rules)
    assert nodes(graph, "sigmoid")[0].name not in placement.consumers


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (lambda net, x: net.blocked(net.first(x)), "the target has no int8 kernel for conv_transpose2d"),
        (lambda net, x: functional.conv2d(net.first(x), net.table * 2), "its weights are computed, not stored"),
        (
            lambda net, x: functional.conv2d(net.first(x), net.table, net.second.bias * 2),
            "its bias is computed, not stored",
        ),
        (
            lambda net, x: net.first(x) + net.second(net.table).mean((0, 2, 3), keepdim=True),
            "its input is not a float tensor that depends on the model's input",
        ),
    ],
    ids=["kernel", "weights", "bias", "input"],
)
def test_what_stays_float_says_why(rules: Rules, forward: Callable[..., Tensor], reason: str) -> None:
    placement = place(graph_of(forward), rules)
    assert list(placement.left_float.values()) == [reason]
    assert [layer.module for layer in placement.layers] == ["first"]


def test_a_layer_that_is_called_twice_is_two_layers(rules: Rules) -> None:
    placement = place(graph_of(lambda net, x: net.second(net.second(net.first(x).relu()).relu())), rules)
    assert [layer.module for layer in placement.layers] == ["first", "second", "second"]
    assert len({layer.node for layer in placement.layers}) == 3


@pytest.mark.parametrize(
    "kind",
    [
        "Plain", "Flattened", "Residual", "PaddedResidual", "DepthwiseSeparable", "Grouped", "Dense", "SqueezeExcite",
        "Shuffled", "Attention", "Perceptron", "Untraceable",
    ],
)  # fmt: skip
def test_a_placement_is_consistent_on_every_kind_of_network(kind: str, rules: Rules, networks: ModuleType) -> None:
    graph = graph_of(networks.random(getattr(networks, kind)), open_batch=kind != "Untraceable")
    placement, order = place(graph, rules), {node.name: index for index, node in enumerate(graph.nodes)}
    weighted = [node for node in graph.nodes if operator(node) in WEIGHTED]
    int8 = {layer.node for layer in placement.layers}
    assert int8 | {node.name for node in weighted if layer_name(node) in placement.left_float} == {
        node.name for node in weighted
    }
    assert all(layer.input in placement.groups and layer.node in placement.consumers for layer in placement.layers)
    assert list(placement.groups) == sorted(placement.groups, key=order.__getitem__)
    assert set(placement.groups.values()) <= set(placement.observed.values())
    assert placement.computed <= set(placement.groups) | {
        node.name for node in graph.nodes if operator(node) in (*rules.float_outputs, *rules.fused_activations)
    }
    for node in graph.nodes:
        moved = source(node, rules)
        if node.name in placement.groups and moved is not None:
            assert placement.groups[node.name] == placement.groups[moved.name]


@pytest.fixture
def integer_rules() -> Rules:
    """Those of a target whose artifacts are integer throughout."""
    int8 = load_target("arm64-cortex-a72").quantization.int8_static
    assert int8 is not None
    return Rules.of(int8)


def test_a_concatenation_and_its_inputs_have_one_scale(integer_rules: Rules) -> None:
    graph = graph_of(lambda net, x: net.second(torch.cat([net.first(x), net.first(x + x)], 1)[:, :8]))
    placement = place(graph, integer_rules)
    (joined,) = nodes(graph, "cat")
    members = {joined.name, *(tensor.name for tensor in joined.args[0])}  # type: ignore[union-attr]
    assert len({placement.groups[name] for name in members}) == 1
    assert {placement.observed[name] for name in members} == {placement.groups[joined.name]}
    assert placement.requantized == {}


def test_an_input_with_a_fixed_scale_is_requantized_for_a_concatenation(integer_rules: Rules) -> None:
    graph = graph_of(lambda net, x: torch.cat([torch.sigmoid(net.first(x)), net.first(x)], 1))
    placement = place(graph, integer_rules)
    (joined,), (sigmoid,) = nodes(graph, "cat"), nodes(graph, "sigmoid")
    assert placement.requantized == {(sigmoid.name, joined.name): placement.groups[joined.name]}
    assert placement.fixed == {sigmoid.name: integer_rules.fixed("sigmoid")}
    assert placement.groups[joined.name] not in placement.fixed


def test_an_integer_target_holds_inputs_and_outputs_in_int8_too(integer_rules: Rules) -> None:
    graph = graph_of(lambda net, x: torch.softmax(net.head((x + x).mean((2, 3)).repeat(1, 3)[:, :8]), -1))
    placement = place(graph, integer_rules)
    (image,), (softmax,) = nodes(graph, "placeholder"), nodes(graph, "softmax")
    assert {image.name, softmax.name} <= set(placement.groups)
    assert set(placement.islands.values()) == {"repeat"}


def test_an_activation_behind_what_takes_none_is_a_kernel_of_its_own(integer_rules: Rules) -> None:
    graph = graph_of(lambda net, x: torch.relu(torch.cat([net.first(x), torch.relu(net.first(x))], 1)))
    placement = place(graph, integer_rules)
    (joined,), (inner, outer) = nodes(graph, "cat"), nodes(graph, "relu")
    assert {joined.name, outer.name} <= set(placement.groups)
    assert inner.args[0].name not in placement.groups  # type: ignore[union-attr]
    assert placement.groups[outer.name] != placement.groups[joined.name]


ENDS: dict[str, Callable[[Tensor], Tensor]] = {
    "max_pool2d": lambda x: functional.max_pool2d(x, 2),
    "avg_pool2d": lambda x: functional.avg_pool2d(x, 2),
    "upsample_nearest2d": lambda x: functional.interpolate(x, scale_factor=2),
    "upsample_bilinear2d": lambda x: functional.interpolate(functional.max_pool2d(x, 2), (16, 16), mode="bilinear"),
    "flatten": lambda x: x.flatten(1),
}


@pytest.mark.parametrize("name", ENDS)
def test_an_integer_target_moves_values_in_int8_up_to_the_end(name: str, integer_rules: Rules) -> None:
    graph = graph_of(lambda net, x: ENDS[name](net.first(x).relu()))
    placement = place(graph, integer_rules)
    (end,), relu = nodes(graph, name), nodes(graph, "relu")[0].name
    assert placement.groups[end.name] == relu
    assert {end.name} <= placement.computed & placement.consumers
    assert set(placement.observed) == {"x", relu}


@pytest.mark.parametrize("name", ENDS)
def test_where_outputs_are_floats_the_end_is_none_of_int8(name: str, rules: Rules, tensorrt_rules: Rules) -> None:
    graph = graph_of(lambda net, x: ENDS[name](net.first(x).relu()))
    for given in (rules, tensorrt_rules):
        placement = place(graph, given)
        assert [layer.module for layer in placement.layers] == ["first"]
        assert nodes(graph, name)[0].name not in placement.groups


def test_an_end_is_float_where_its_input_is_or_the_recipe_wants_it(integer_rules: Rules) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Upsample(scale_factor=2), nn.Flatten())
    for kept in ("0", "1", "2"):
        graph = graph_of(network)
        placement = place(graph, integer_rules, keep_float=[kept])
        assert nodes(graph, "flatten")[0].name not in placement.groups
        assert (nodes(graph, "conv2d")[0].name in placement.groups) == (kept != "0")


@pytest.fixture
def tensorrt_rules() -> Rules:
    int8 = load_target("nvidia-rtx-ada").quantization.int8_static
    assert int8 is not None
    return Rules.of(int8)


def test_tensorrt_quantizes_what_layers_read_and_not_what_they_hand_out(tensorrt_rules: Rules) -> None:
    graph = graph_of(lambda net, x: net.second(net.first(x).relu()).sigmoid())
    placement = place(graph, tensorrt_rules)
    assert held(graph, placement) == ["placeholder", "relu"]
    assert [layer.input for layer in placement.layers] == ["x", nodes(graph, "relu")[0].name]


def test_tensorrt_reads_the_residual_of_a_fused_sum_in_int8(tensorrt_rules: Rules) -> None:
    """The second layer's own value stays in its accumulators; the sum behind the activation is int8 for everyone."""

    def forward(net: Network, x: Tensor) -> Tensor:
        start = net.first(x).relu()
        total = (net.second(start) + start).relu()
        return net.block(total) + total

    graph = graph_of(forward)
    placement = place(graph, tensorrt_rules)
    assert held(graph, placement) == ["placeholder", "relu", "relu"]
    add = nodes(graph, "add")[0]
    assert add.name in placement.consumers
    assert nodes(graph, "conv2d")[1].name not in placement.groups
    assert nodes(graph, "relu")[1].name in placement.computed


def test_a_sum_of_layers_that_stay_float_is_float(tensorrt_rules: Rules) -> None:
    graph = graph_of(lambda net, x: (y := net.first(x).relu()) + net.second(y))
    placement = place(graph, tensorrt_rules, keep_float=["second"])
    assert held(graph, placement) == ["placeholder"]
    assert nodes(graph, "add")[0].name not in placement.consumers


def test_int8_goes_through_a_pool_that_only_selects(tensorrt_rules: Rules) -> None:
    graph = graph_of(lambda net, x: net.second(functional.max_pool2d(net.first(x).relu(), 2)))
    placement = place(graph, tensorrt_rules)
    assert held(graph, placement) == ["placeholder", "relu", "max_pool2d"]
    assert len(set(placement.groups.values())) == 2


def test_small_matrix_products_stay_float_and_say_why(tensorrt_rules: Rules) -> None:
    graph = graph_of(lambda net, x: net.head(net.first(x).mean((2, 3))))
    placement = place(graph, tensorrt_rules)
    assert placement.left_float == {
        "head": "it has 8 inputs and 10 outputs, and with fewer than 16 int8 is not worth it"
    }
    placement = place(graph, replace(tensorrt_rules, least_features=8))
    assert placement.left_float == {}
