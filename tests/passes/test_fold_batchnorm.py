"""fold-batchnorm: every batch normalization goes, and the outputs stay where the pass declares that they stay."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from edgewright.ir.errors import StepError
from edgewright.ir.facts import BATCHNORM_FOLDED
from edgewright.ir.graph import editable, module_names, operator
from edgewright.ir.state import InputSpec, ModelState
from edgewright.passes.export import Export
from edgewright.passes.fold_batchnorm import FoldBatchnorm
from edgewright.targets import Target
from torch import Tensor, nn

SHAPES = {1: (6, 16), 2: (6, 8, 8), 3: (6, 4, 4, 4)}
NORMS: dict[int, type[nn.Module]] = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def norm(dimensions: int, channels: int, **options: Any) -> nn.Module:
    """A batch norm that has seen data: large and small deviations, and weights of both signs."""
    layer = NORMS[dimensions](channels, **options)
    nn.init.normal_(layer.running_mean)
    layer.running_var.copy_(10 ** torch.linspace(-3, 3, channels))
    if layer.affine:
        nn.init.normal_(layer.weight)
        nn.init.normal_(layer.bias)
    return layer


@pytest.fixture
def fold(carry_out: Callable[..., ModelState]) -> Callable[..., ModelState]:
    """fold(module, sample_shape): the state after export and the pass, whose numerics the manager checked."""

    def run(module: nn.Module, shape: tuple[int, ...] = SHAPES[2]) -> ModelState:
        state = carry_out(module, Export(), FoldBatchnorm(), specs=(InputSpec("x", (None, *shape)),))
        assert BATCHNORM_FOLDED in state.facts
        return state

    return run


def operators(state: ModelState) -> list[str]:
    return [operator(node) for node in state.exported_program().graph.nodes if operator(node)]


LAYERS: dict[str, Callable[[], tuple[int, nn.Module]]] = {
    "conv1d": lambda: (1, nn.Conv1d(6, 9, 3)),
    "conv2d": lambda: (2, nn.Conv2d(6, 9, 3, stride=2, padding=1)),
    "conv2d without bias": lambda: (2, nn.Conv2d(6, 9, 3, bias=False)),
    "conv2d with the same size": lambda: (2, nn.Conv2d(6, 9, 3, padding="same", dilation=2)),
    "depthwise": lambda: (2, nn.Conv2d(6, 6, 3, groups=6)),
    "depthwise with a multiplier": lambda: (2, nn.Conv2d(6, 12, 3, groups=6, bias=False)),
    "grouped": lambda: (2, nn.Conv2d(6, 9, 3, groups=3)),
    "conv3d": lambda: (3, nn.Conv3d(6, 9, 3)),
    "transposed 1d": lambda: (1, nn.ConvTranspose1d(6, 9, 3)),
    "transposed 2d": lambda: (2, nn.ConvTranspose2d(6, 9, 3, stride=2, output_padding=1, bias=False)),
}


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("affine", [True, False])
def test_the_layer_before_takes_it(make: Callable[[], tuple[int, nn.Module]], affine: bool, fold: Any) -> None:
    torch.manual_seed(0)
    dimensions, layer = make()
    channels = layer(torch.zeros(1, *SHAPES[dimensions])).shape[1]
    state = fold(nn.Sequential(layer, norm(dimensions, channels, affine=affine), nn.ReLU()), SHAPES[dimensions])
    assert len(operators(state)) == 2
    assert state.history[-1].notes == ("1 of 1 batch normalizations folded into the layer before",)


def test_a_linear_layer_takes_it(fold: Any) -> None:
    torch.manual_seed(0)
    state = fold(nn.Sequential(nn.Flatten(), nn.Linear(384, 5, bias=False), norm(0, 5)))
    assert operators(state) == ["flatten", "linear"]


STAND_ALONE: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], list[str]]] = {
    "first of all, 1d": (lambda: norm(1, 6), SHAPES[1], ["conv1d"]),
    "first of all, 2d": (lambda: norm(2, 6), SHAPES[2], ["conv2d"]),
    "first of all, 3d": (lambda: norm(3, 6, affine=False), SHAPES[3], ["conv3d"]),
    "of features": (lambda: norm(0, 6), (6,), ["mul", "add"]),
    "after an activation": (
        lambda: nn.Sequential(nn.Conv2d(6, 4, 1), nn.ReLU(), norm(2, 4)), SHAPES[2], ["conv2d", "relu", "conv2d"]
    ),
    "after a grouped transposed convolution": (
        lambda: nn.Sequential(nn.ConvTranspose2d(6, 4, 2, groups=2), norm(2, 4)), SHAPES[2],
        ["conv_transpose2d", "conv2d"],
    ),
    "after a transposed 3d convolution": (
        lambda: nn.Sequential(nn.ConvTranspose3d(6, 4, 2), norm(3, 4)), SHAPES[3], ["conv_transpose3d", "conv3d"]
    ),
    "of another axis than the linear layer's": (
        lambda: nn.Sequential(nn.Linear(16, 4), norm(1, 6)), SHAPES[1], ["linear", "conv1d"]
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "shape", "expected"), STAND_ALONE.values(), ids=STAND_ALONE)
def test_where_no_layer_can_take_it_it_becomes_a_layer_of_its_own(
    make: Callable[[], nn.Module], shape: tuple[int, ...], expected: list[str], fold: Any
) -> None:
    torch.manual_seed(0)
    state = fold(make(), shape)
    assert operators(state) == expected
    assert state.history[-1].notes[1] == "1 with no layer before became depthwise convolutions"


class Shared(nn.Module):
    """One convolution before two batch norms; `twice` calls it twice, otherwise both norms read the same result."""

    def __init__(self, twice: bool) -> None:
        super().__init__()
        self.twice, self.layer = twice, nn.Conv2d(6, 4, 1)
        self.left, self.right = norm(2, 4), norm(2, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        outputs: Tensor = self.left(y) - self.right(self.layer(x * 2) if self.twice else y)
        return outputs


def test_a_layer_that_is_called_twice_takes_both_norms_in_weights_of_their_own(fold: Any) -> None:
    torch.manual_seed(0)
    state = fold(Shared(twice=True))
    assert sorted(operators(state)) == ["conv2d", "conv2d", "mul", "sub"]


def test_a_result_that_others_read_too_stays_what_it_was(fold: Any) -> None:
    torch.manual_seed(0)
    state = fold(Shared(twice=False))
    assert operators(state).count("conv2d") == 3


def test_weights_that_depend_on_the_input_take_nothing(fold: Any) -> None:
    class Dynamic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.norm = nn.Parameter(torch.randn(4, 6, 1, 1)), norm(2, 4)

        def forward(self, x: Tensor) -> Tensor:
            outputs: Tensor = self.norm(nn.functional.conv2d(x, self.weight * x.mean()))
            return outputs

    torch.manual_seed(0)
    assert operators(fold(Dynamic())).count("conv2d") == 2


def test_weights_that_are_computed_of_stored_tensors_take_it(fold: Any) -> None:
    torch.manual_seed(0)
    layer = nn.utils.parametrizations.weight_norm(nn.Conv2d(6, 4, 1))
    assert operators(fold(nn.Sequential(layer, norm(2, 4)))) == ["conv2d"]


def test_norms_are_found_where_the_graph_was_taken_apart(fold: Any) -> None:
    class Assigned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.norm = nn.Conv2d(6, 4, 1), norm(2, 4)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.norm(self.layer(x))
            y[:, :1] = 0
            return y

    torch.manual_seed(0)
    assert not [name for name in operators(fold(Assigned())) if "norm" in name]


@pytest.mark.parametrize("kind", ["Plain", "Residual", "DepthwiseSeparable", "Grouped", "Dense", "Shuffled"])
def test_the_tiny_networks_lose_all_of_theirs(kind: str, fold: Any, networks: ModuleType) -> None:
    network = networks.random(getattr(networks, kind))
    state = fold(network, (3, 16, 16))
    assert not [name for name in operators(state) if "norm" in name]


def test_the_folded_layer_keeps_the_users_name_for_it(fold: Any) -> None:
    torch.manual_seed(0)
    state = fold(nn.Sequential(nn.Conv2d(6, 4, 1), norm(2, 4), nn.ReLU(), norm(2, 4)))
    graph = editable(state.exported_program()).graph
    assert [module_names(node)[-1] for node in graph.nodes if operator(node) == "conv2d"] == ["0", "3"]


def test_a_network_without_norms_is_left_as_it_is(carry_out: Callable[..., ModelState]) -> None:
    before = carry_out(nn.Conv2d(3, 4, 1), Export())
    after = carry_out(before, FoldBatchnorm())
    assert after.program is before.program
    assert after.history[-1].notes == ()


@pytest.mark.parametrize("options", [{"track_running_stats": False}, {}])
def test_statistics_of_the_batch_itself_are_refused_by_name(options: dict[str, bool], make_context: Any) -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Conv2d(6, 4, 1), nn.BatchNorm2d(4, **options))

        def forward(self, x: Tensor) -> Tensor:
            if options:
                outputs: Tensor = self.inner(x)
                return outputs
            return nn.functional.batch_norm(self.inner[0](x), None, None, training=True)

    state = ModelState((InputSpec("x", (None, *SHAPES[2])),), Named().eval())
    exported = Export().run(state, make_context())
    name = "inner.1" if options else "batch_norm"
    with pytest.raises(StepError, match=rf"^fold-batchnorm: {name} normalizes by each batch's own statistics"):
        FoldBatchnorm().run(exported, make_context())


def test_every_target_and_recipe_has_it(target: Target, make_recipe: Any) -> None:
    assert FoldBatchnorm.for_target(target, make_recipe()) == FoldBatchnorm()
