"""insert-quantization: the graph computes what integer kernels compute, in every form that targets ask for."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from edgewright.ir.errors import InputError
from edgewright.ir.facts import QUANTIZED
from edgewright.ir.graph import editable, operator, tensor_of
from edgewright.ir.state import InputSpec, ModelState, load, save
from edgewright.passes.calibrate import Calibrate
from edgewright.passes.contract import Skip
from edgewright.passes.export import Export
from edgewright.passes.fold_batchnorm import FoldBatchnorm
from edgewright.passes.insert_quantization import InsertQuantization
from edgewright.passes.text import from_text, to_text
from edgewright.recipe.schema import Recipe
from edgewright.targets import Target, load_target
from torch import Tensor, nn
from torch.fx import GraphModule, Node

SHAPE = (3, 16, 16)
KINDS = [
    "Plain", "Flattened", "Residual", "PaddedResidual", "DepthwiseSeparable", "Grouped", "Dense", "SqueezeExcite",
    "Shuffled", "Attention", "Perceptron",
]  # fmt: skip
LEAST_SQNR_DB = 20.0
"""Eight bits of a value that fills its range are worth about 50 dB (6 dB a bit) and clipping, tails and the seven bits
of the weights cost some; what is left after a handful of layers is well above one part in a hundred of the power."""


def images(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def quantized(
    target: Target, make_recipe: Callable[..., Recipe], make_context: Any, carry_out: Callable[..., ModelState]
) -> Callable[..., ModelState]:
    """quantized(module, keep_float=(), **int8): the state for the target with the profile's int8 keys changed so."""

    def run(module: nn.Module, keep_float: tuple[str, ...] = (), **int8: Any) -> ModelState:
        recipe = make_recipe(compress={"quantize": {"keep_float": keep_float, "calibration": {"samples": 64}}})
        steps = [step.for_target(varied(target, **int8), recipe) for step in (Calibrate, InsertQuantization)]
        context = make_context(calibration=(images(64), torch.arange(64) % 10))
        specs = (InputSpec("image", (None, *SHAPE)),)
        state = carry_out(module, Export(), FoldBatchnorm(), *steps, specs=specs, context=context)
        assert QUANTIZED in state.facts
        return state

    return run


def varied(target: Target, **int8: Any) -> Target:
    assert target.quantization.int8_static is not None
    changed = target.quantization.int8_static.model_copy(update=int8)
    return target.model_copy(update={"quantization": target.quantization.model_copy(update={"int8_static": changed})})


class Chain(nn.Module):
    """Two convolutions and a linear layer; the second convolution may be given `bias` and `scale` its weights by."""

    def __init__(self, bias: float = 0.0, scale: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.head = nn.Linear(8 * 16, 10)
        with torch.no_grad():
            self.second.weight *= scale
            self.second.bias[3] += bias

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(self.second(self.first(x).relu()).relu(), 4)
        outputs: Tensor = self.head(x.flatten(1))
        return outputs


def layers(module: GraphModule) -> list[Node]:
    return [node for node in module.graph.nodes if operator(node) in ("conv2d", "linear", "conv_transpose2d")]


def stored(module: GraphModule, dequantize: Any) -> tuple[Tensor, Tensor]:
    """The integers and the scales behind a dequantize node of weights or biases."""
    values, scales, zeros, *_ = dequantize.args
    assert not tensor_of(module, zeros).any()
    return tensor_of(module, values), tensor_of(module, scales)


@torch.no_grad()
def sqnr_db(found: Tensor, exact: Tensor) -> float:
    return float(10 * torch.log10(exact.square().mean() / (found - exact).square().mean()))


@pytest.mark.parametrize("kind", KINDS)
def test_the_simulated_network_is_close_to_the_float_one(
    kind: str, quantized: Callable[..., ModelState], networks: ModuleType
) -> None:
    network = networks.random(getattr(networks, kind))
    given = images(50, seed=9)
    assert sqnr_db(quantized(network).callable_module()(given), network(given)) > LEAST_SQNR_DB


@pytest.mark.parametrize(
    "int8",
    [
        {"activations": "int8", "symmetric_activations": True, "bias": "float32", "weight_bits": 8},
        {"activations": "int8", "weight_bits": 8, "float_outputs": ()},
        {"activations": "uint8", "symmetric_activations": True, "weight_granularity": "per-tensor"},
    ],
    ids=["as TensorRT has it", "as TFLite has it", "per tensor"],
)
def test_every_form_that_targets_ask_for_is_close(int8: dict[str, Any], quantized: Callable[..., ModelState]) -> None:
    network, given = Chain().eval(), images(50, seed=9)
    assert sqnr_db(quantized(network, **int8).callable_module()(given), network(given)) > LEAST_SQNR_DB


@pytest.mark.parametrize(("bits", "limit"), [(8, 127), (7, 63), (4, 7)])
@pytest.mark.parametrize("granularity", ["per-channel", "per-tensor"])
def test_weights_fill_their_bits_and_no_more(
    bits: int, limit: int, granularity: str, quantized: Callable[..., ModelState]
) -> None:
    network = Chain()
    module = editable(quantized(network, weight_bits=bits, weight_granularity=granularity).exported_program())
    for node, layer in zip(layers(module), (network.first, network.second, network.head), strict=True):
        values, scales = stored(module, node.args[1])
        assert values.dtype == torch.int8
        assert values.abs().max() == limit
        assert len(scales.unique()) == (1 if granularity == "per-tensor" else len(scales))
        steps = layer.weight.detach() / scales.reshape(-1, *[1] * (values.dim() - 1))
        half_a_step = 0.5 + limit * np.finfo(np.float32).eps
        assert (values - steps).abs().max() <= half_a_step


@pytest.mark.parametrize(
    ("activations", "symmetric", "zero_points"),
    [("uint8", False, None), ("uint8", True, {128}), ("int8", False, None), ("int8", True, {0})],
)
def test_activations_have_the_number_format_of_the_target(
    activations: str, symmetric: bool, zero_points: set[int] | None, quantized: Callable[..., ModelState]
) -> None:
    state = quantized(Chain(), activations=activations, symmetric_activations=symmetric)
    limits = (0, 255) if activations == "uint8" else (-128, 127)
    quantize = [node for node in state.exported_program().graph.nodes if "quantize_per_tensor" in str(node.target)]
    assert {node.args[3:] for node in quantize} == {(*limits, getattr(torch, activations))}
    assert zero_points is None or {node.args[2] for node in quantize} == zero_points
    relus = [zero for name, (_, zero) in state.attachments["quantization"]["scales"].items() if "relu" in name]
    assert symmetric or relus == [limits[0]] * 2


def test_biases_are_integers_on_the_grid_of_the_sum(quantized: Callable[..., ModelState]) -> None:
    network = Chain()
    module = editable(quantized(network).exported_program())
    for node, layer in zip(layers(module), (network.first, network.second, network.head), strict=True):
        _, weight_scales = stored(module, node.args[1])
        values, scales = stored(module, node.args[2])
        input_scale = node.args[0]
        while "dequantize" not in str(input_scale.target):
            input_scale = input_scale.args[0]
        assert values.dtype == torch.int32
        assert torch.equal(scales, (weight_scales.double() * input_scale.args[1]).float())
        assert (values - layer.bias.detach().double() / scales.double()).abs().max() <= 0.5


def test_float_biases_stay_what_they_are(quantized: Callable[..., ModelState]) -> None:
    network = Chain()
    module = editable(quantized(network, bias="float32").exported_program())
    biases = [tensor_of(module, node.args[2]) for node in layers(module)]
    own = (network.first.bias, network.second.bias, network.head.bias)
    assert all(torch.equal(*pair) for pair in zip(biases, own, strict=True))


def test_a_kernel_of_integers_computes_what_the_graph_computes(quantized: Callable[..., ModelState]) -> None:
    """The second convolution, in int64: integers times integers, and one multiplication back to the output's grid."""
    module = editable(quantized(Chain()).exported_program())
    node = layers(module)[1]
    seen: dict[str, Tensor] = {}

    class Watcher(torch.fx.Interpreter):
        def run_node(self, n: Node) -> Any:
            seen[n.name] = super().run_node(n)
            return seen[n.name]

    Watcher(module, garbage_collect_values=False).run(images(4, seed=5))
    reads: Any = node.args[0]
    _, in_scale, in_zero, *_ = reads.args
    weights, weight_scales = stored(module, node.args[1])
    bias, _ = stored(module, node.args[2])
    codes = seen[reads.args[0].name].long() - in_zero
    sums = nn.functional.conv2d(codes, weights.long(), bias.long(), padding=1, groups=2)
    relu = next(iter(node.users))
    (after,) = [user for user in relu.users if "quantize" in str(user.target)]
    _, out_scale, out_zero, lowest, highest, _ = after.args
    factors = (weight_scales.double() * in_scale / out_scale).reshape(1, -1, 1, 1)
    codes_out = ((sums * factors).round() + out_zero).clamp(lowest, highest)
    one_step_where_rounding_is_a_tie = 1
    difference = (codes_out - seen[after.name]).abs()
    assert difference.max() <= one_step_where_rounding_is_a_tie
    assert (difference > 0).float().mean() < 1 / (highest - lowest)


def test_a_bias_that_int32_would_not_hold_widens_its_weights_grid(quantized: Callable[..., ModelState]) -> None:
    network = Chain(bias=1000.0, scale=1e-6).eval()
    state = quantized(network)
    module = editable(state.exported_program())
    node = layers(module)[1]
    values, _ = stored(module, node.args[2])
    free = stored(editable(quantized(Chain(scale=1e-6)).exported_program()), node.args[1])[1]
    widened = stored(module, node.args[1])[1]
    assert values.long().abs().max() <= 2**30
    assert values[3].abs() > 2**29
    assert torch.equal(widened[torch.arange(8) != 3], free[torch.arange(8) != 3])
    given = images(20, seed=9)
    assert sqnr_db(state.callable_module()(given), network(given)) > LEAST_SQNR_DB


def test_float_biases_leave_the_weights_grid_alone(quantized: Callable[..., ModelState]) -> None:
    scales = []
    for bias in (0.0, 1000.0):
        module = editable(quantized(Chain(bias=bias, scale=1e-6), bias="float32").exported_program())
        scales.append(stored(module, layers(module)[1].args[1])[1])
    assert torch.equal(*scales)


class Tied(nn.Module):
    """One layer called twice, and another whose weights are the same tensor."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.twice, self.other = nn.Linear(768, 16), nn.Linear(16, 16), nn.Linear(16, 16)
        self.other.weight = self.twice.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.flatten(1)).relu()
        outputs: Tensor = self.other(self.twice(self.twice(x).relu() * 3).relu())
        return outputs


def test_weights_that_layers_share_are_stored_once(quantized: Callable[..., ModelState]) -> None:
    network, given = Tied().eval(), images(20, seed=9)
    state = quantized(network)
    module = editable(state.exported_program())
    _, *sharing = layers(module)
    assert len({str(node.args[1].args[0].target) for node in sharing}) == 1
    assert len({str(node.args[2].args[0].target) for node in sharing}) == 3  # each input has a scale of its own
    int8 = [tensor for tensor in state.exported_program().state_dict.values() if tensor.dtype == torch.int8]
    assert len(int8) == 2
    assert sqnr_db(state.callable_module()(given), network(given)) > LEAST_SQNR_DB


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("granularity", ["per-channel", "per-tensor"])
def test_transposed_convolutions_have_a_scale_for_each_output_channel(
    groups: int, bias: bool, granularity: str, quantized: Callable[..., ModelState], target: Target
) -> None:
    torch.manual_seed(0)
    layer = nn.ConvTranspose2d(8, 12, 3, groups=groups, bias=bias)
    with torch.no_grad():
        layer.weight *= 10 ** torch.linspace(-2, 2, 12 // groups).reshape(1, -1, 1, 1)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), layer, nn.ReLU(), nn.Conv2d(12, 4, 1)).eval()
    kernels = (*target.quantization.int8_static.kernels, "conv_transpose2d")  # type: ignore[union-attr]
    state = quantized(network, kernels=kernels, weight_granularity=granularity)
    module = editable(state.exported_program())
    values, scales = stored(module, layers(module)[1].args[1])
    assert values.shape == layer.weight.shape
    assert len(scales) == 12 // groups
    given = images(20, seed=9)
    assert sqnr_db(state.callable_module()(given), network(given)) > LEAST_SQNR_DB


def test_layers_that_the_recipe_keeps_compute_in_float(quantized: Callable[..., ModelState]) -> None:
    network, given = Chain().eval(), images(50, seed=9)
    kept, whole = quantized(network, keep_float=("second",)), quantized(network)
    module = editable(kept.exported_program())
    assert [str(node.args[1].op) for node in layers(module)] == ["call_function", "get_attr", "call_function"]
    assert kept.attachments["quantization"]["layers"] == ["first", "head"]
    assert kept.attachments["quantization"]["left_float"] == {"second": "the recipe keeps it in float"}
    assert kept.history[-1].notes == (
        "2 of 3 layers with weights in int8",
        "second stays float: the recipe keeps it in float",
        "computed in float between int8 tensors: relu (1)",
    )
    exact = network(given)
    assert sqnr_db(kept.callable_module()(given), exact) > sqnr_db(whole.callable_module()(given), exact)


def test_fixed_point_says_the_form_of_every_activation_and_answers_nearly_as_well(
    quantized: Callable[..., ModelState],
) -> None:
    network = Chain().eval()
    state = quantized(network, power_of_two=True)
    scales = [scale for scale, _ in state.attachments["quantization"]["scales"].values()]
    assert all(math.frexp(scale)[0] == 0.5 for scale in scales)
    told = [note for note in state.history[-1].notes if note.startswith("Q")]
    forms = {f"Q{8 - behind}.{behind}" for behind in (round(-math.log2(scale)) for scale in scales)}
    assert {note.partition(":")[0] for note in told} == forms
    module = editable(state.exported_program())
    for layer in layers(module):
        assert all(math.frexp(float(scale))[0] == 0.5 for scale in stored(module, layer.args[1])[1])
    given = images(50, seed=9)
    assert sqnr_db(state.callable_module()(given), network(given)) > LEAST_SQNR_DB


def test_operators_that_stay_float_between_integers_are_named(quantized: Callable[..., ModelState]) -> None:
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm, self.last = nn.Linear(16, 8), nn.LayerNorm(8), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(nn.functional.gelu(self.norm(self.norm(self.first(x)))))

    notes = quantized(Normed()).history[-1].notes
    assert notes == (
        "2 of 2 layers with weights in int8", "computed in float between int8 tensors: layer_norm (2), gelu (1)"
    )  # fmt: skip


def test_a_float_tensor_is_rounded_for_int8_kernels_alone(quantized: Callable[..., ModelState]) -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 4, 1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.layer(x).relu(), x.sin()

    torch.manual_seed(0)
    given = images(5)
    _, exact = quantized(Both()).callable_module()(given)
    assert torch.equal(exact, given.sin())


def test_unknown_names_to_keep_are_refused_together_with_near_ones(quantized: Callable[..., ModelState]) -> None:
    with pytest.raises(InputError) as caught:
        quantized(Chain(), keep_float=("secnd", "head", "nowhere"))
    assert [str(problem) for problem in caught.value.problems] == [
        "recipe: compress.quantize.keep_float: expected the name of a module of the network,"
        " got 'secnd' (did you mean second?)",
        "recipe: compress.quantize.keep_float: expected the name of a module of the network, got 'nowhere'",
    ]


def test_a_network_of_which_nothing_would_be_in_int8_is_refused_with_the_reasons(
    quantized: Callable[..., ModelState],
) -> None:
    expected = r"recipe: compress\.quantize: expected a layer with weights that can be computed in int8 .*, got "
    with pytest.raises(InputError, match=f"^{expected}first: the recipe keeps it in float; second: "):
        quantized(Chain(), keep_float=("first", "second", "head"))
    with pytest.raises(InputError, match=f"^{expected}a network without such layers$"):
        quantized(nn.Sequential(nn.MaxPool2d(2), nn.ReLU()))


def test_the_batch_stays_open_and_a_stored_state_computes_the_same_bits(
    quantized: Callable[..., ModelState], tmp_path: Path
) -> None:
    state = quantized(Chain())
    (tmp_path / "state").mkdir()
    save(state, tmp_path / "state")
    again = load(tmp_path / "state", Chain)
    assert again.attachments == state.attachments
    for count in (1, 5):
        assert torch.equal(again.callable_module()(images(count)), state.callable_module()(images(count)))


def test_the_steps_of_the_outputs_are_told(quantized: Callable[..., ModelState]) -> None:
    class Several(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 4, 1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            y = self.layer(x)
            return y, y.exp(), y.argmax(1)

    torch.manual_seed(0)
    state = quantized(Several())
    summary = state.attachments["quantization"]
    (held, only_observed, whole_numbers) = summary["output_steps"]
    assert held == summary["scales"]["conv2d"][0]
    ranges = state.attachments["ranges"]["exp"]
    assert only_observed == pytest.approx((ranges[1] - ranges[0]) / 255, rel=float(np.finfo(np.float32).eps))
    assert whole_numbers is None


def test_the_pass_is_what_target_and_recipe_say(target: Target, make_recipe: Callable[..., Recipe]) -> None:
    asked = make_recipe(compress={"quantize": {"keep_float": ("head",)}})
    step = InsertQuantization.for_target(target, asked)
    assert isinstance(step, InsertQuantization)
    assert (step.activations, step.symmetric, step.weight_bits, step.bias) == ("uint8", False, 7, "int32")
    assert step.keep_float == ("head",)
    assert from_text(to_text(step), (InsertQuantization,)) == step
    assert InsertQuantization.for_target(target, make_recipe()) is None
    without = target.model_copy(update={"quantization": target.quantization.model_copy(update={"int8_static": None})})
    skip = InsertQuantization.for_target(without, asked)
    assert isinstance(skip, Skip)
    assert skip.why.startswith("x86-avx2 has no static int8 kernels")


@pytest.mark.parametrize("kind", ["Plain", "Residual", "PaddedResidual", "DepthwiseSeparable", "Flattened"])
def test_tensorrt_gets_symmetric_int8_float_biases_and_no_rounding_behind_layers(
    kind: str, networks: ModuleType, make_recipe: Any, make_context: Any, carry_out: Callable[..., ModelState]
) -> None:
    recipe = make_recipe(compress={"quantize": {"calibration": {"samples": 64}}})
    ada = load_target("nvidia-rtx-ada")
    steps = [step.for_target(ada, recipe) for step in (Calibrate, InsertQuantization)]
    context = make_context(calibration=(images(64), torch.arange(64) % 10))
    network = networks.random(getattr(networks, kind))
    state = carry_out(network, Export(), FoldBatchnorm(), *steps, context=context)
    module = editable(state.exported_program())
    layers = [node for node in module.graph.nodes if operator(node) in ("conv2d", "linear")]
    inside = [node for node in layers if "dequantize_per_channel" in str(node.args[1].target)]
    assert inside
    for node in inside:
        assert "dequantize_per_tensor" in str(node.args[0].target)
        assert tensor_of(module, node.args[1].args[0]).dtype == torch.int8
        assert node.args[1].args[3] == 0
        assert node.args[2] is None or tensor_of(module, node.args[2]).dtype == torch.float32
        assert not any("quantize" in str(reader.target) for reader in node.users if operator(reader) == "relu")
    for node in module.graph.nodes:
        if str(node.target).startswith("quantized_decomposed.quantize_per_tensor"):
            scale, zero_point, lowest, highest, dtype = node.args[1:]
            assert scale > 0
            assert (zero_point, lowest, highest, dtype) == (0, -128, 127, torch.int8)
    for node in module.graph.nodes:
        if operator(node) == "add" and any(operand in inside for operand in node.args):
            assert sorted("dequantize_per_tensor" in str(operand.target) for operand in node.args) == [False, True]
    floats = {name for name, why in state.attachments["quantization"]["left_float"].items() if "fewer than 16" in why}
    assert floats == {"head"}
