"""factorize: layers are products of smaller ones, the network can be built again so, and its artifact runs."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from edgewright.channels.costs import count_macs
from edgewright.devices.local import LocalDevice
from edgewright.ir.errors import InputError
from edgewright.ir.factors import Factors
from edgewright.ir.facts import CHANNELS_PRUNED, FACTORIZED, QUANTIZED, RECOVERED
from edgewright.ir.state import InputSpec, ModelState, load, save
from edgewright.low_rank.svd import energies
from edgewright.passes.calibrate import Calibrate
from edgewright.passes.export import Export
from edgewright.passes.factorize import Factorize
from edgewright.passes.fold_batchnorm import FoldBatchnorm
from edgewright.passes.insert_quantization import InsertQuantization
from edgewright.passes.prune_channels import PruneChannels
from edgewright.passes.recover import Recover
from edgewright.passes.text import from_text, to_text
from edgewright.pipeline.measuring import measure_on
from edgewright.recipe.schema import Recipe
from edgewright.runtimes import open_runner
from edgewright.runtimes.onnxruntime import OnnxEmitter
from edgewright.targets import Target, load_target
from torch import Tensor, nn
from torch.testing import assert_close

IMAGE = (torch.zeros(1, 3, 16, 16),)
VECTORS = (InputSpec("image", (1, 256)),)


def factors(state: ModelState) -> dict[str, str]:
    return {edit.module: str(edit.factors) for edit in state.edits if edit.factors is not None}


def of_rank(rank: int, *sizes: int) -> nn.Module:
    """Linear layers with ReLUs between, whose matrices all have that rank."""
    generator = torch.Generator().manual_seed(0)
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layer = nn.Linear(inputs, outputs)
        parts = torch.randn(outputs, rank, generator=generator), torch.randn(rank, inputs, generator=generator)
        layer.weight.data = parts[0] @ parts[1] / inputs
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


def test_matrices_of_a_rank_come_apart_at_that_rank_and_compute_the_same(carry_out: Callable[..., ModelState]) -> None:
    network, samples = of_rank(8, 256, 64, 64), torch.randn(4, 256)
    state = carry_out(network, Factorize(0.999, multiple=8), specs=VECTORS)
    assert FACTORIZED in state.facts
    assert factors(state) == {"0": "svd 8", "2": "svd 8"}
    assert_close(state.torch_module()(samples), network(samples))
    assert [name for name, _ in state.torch_module().named_parameters()] == [
        f"{layer}.{name}" for layer in (0, 2) for name in ("reduce.weight", "expand.weight", "expand.bias")
    ]
    gone = 1 - count_macs(state.torch_module(), (samples[:1],)) / count_macs(network, (samples[:1],))
    notes = state.history[-1].notes
    assert notes[:2] == (
        "2 of 2 layers are products of smaller ones",
        f"{gone:.1%} of the network's multiply-accumulates are gone",
    )
    assert notes[3] == "0: svd 8: 100.0% of the energy kept, 84% of the multiply-accumulates gone"


def test_what_is_lost_is_what_the_singular_values_say(carry_out: Callable[..., ModelState]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
    state = carry_out(network, Factorize(0.5), specs=(InputSpec("x", (None, 64)),))
    (rank,) = (edit.factors.ranks[0] for edit in state.edits if edit.factors)
    kept = energies(network.get_parameter("0.weight"))
    assert kept[rank - 1] >= 0.5 > kept[rank - 2]
    parts = state.torch_module().get_submodule("0")
    made = parts.get_parameter("expand.weight") @ parts.get_parameter("reduce.weight")
    weight = network.get_parameter("0.weight")
    assert_close((weight - made).square().sum() / weight.square().sum(), 1 - kept[rank - 1].float())


@pytest.mark.parametrize("method", ["auto", "svd", "tucker", "cp"])
def test_convolutions_come_apart_by_every_method_and_the_artifact_runs(
    method: Any, networks: ModuleType, carry_out: Callable[..., ModelState], target: Target, tmp_path: Path
) -> None:
    network = networks.random(networks.Residual)
    before = copy.deepcopy(network.state_dict())
    step = Factorize(0.4, "ratio", method, multiple=4)
    state = carry_out(network, step)
    ways = {name: way.partition(" ")[0] for name, way in factors(state).items()}
    assert len(ways) >= 5
    assert ways["shortcut"] == "svd"
    assert method == "auto" or ways["second.1.0"] == method
    assert count_macs(state.torch_module(), IMAGE) < 0.7 * count_macs(network, IMAGE)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    emitted = OnnxEmitter().emit(carry_out(state, Export(), FoldBatchnorm()), target, tmp_path)
    samples = torch.randn(2, 3, 16, 16)
    with open_runner("onnxruntime", LocalDevice(), tmp_path / emitted.main, 1, emitted.ports) as runner:
        (found,) = runner.run({"image": samples.numpy()})
    with torch.no_grad():
        assert_close(torch.from_numpy(found), state.torch_module()(samples))


def test_it_is_stored_and_comes_back_after_channels_went_and_before_it_learned(
    networks: ModuleType, carry_out: Callable[..., ModelState], make_context: Any, tmp_path: Path
) -> None:
    samples = torch.randn(16, 3, 16, 16), torch.arange(16) % 10
    context = make_context(train=(samples[0].repeat(4, 1, 1, 1), samples[1].repeat(4)))
    network = networks.random(networks.Residual)
    steps = (PruneChannels(0.3), Factorize(0.4, "ratio", multiple=4), Recover(0.5))
    state = carry_out(network, *steps, context=context)
    assert {CHANNELS_PRUNED, FACTORIZED, RECOVERED} <= state.facts
    assert any(edit.shapes for edit in state.edits)
    (tmp_path / "state").mkdir()
    save(state, tmp_path / "state")
    again = load(tmp_path / "state", networks.Residual)
    assert (again.edits, again.facts) == (state.edits, state.facts)
    with torch.no_grad():
        assert torch.equal(again.torch_module()(samples[0]), state.torch_module()(samples[0]))


def test_smaller_layers_are_quantized_and_named_by_the_layer(
    networks: ModuleType, carry_out: Callable[..., ModelState], make_context: Any, make_recipe: Any, target: Target
) -> None:
    quantized = {"calibration": {"samples": 16}, "keep_float": ("first",)}
    recipe = make_recipe(compress={"quantize": quantized})
    quantize = [kind.for_target(target, recipe) for kind in (Calibrate, InsertQuantization)]
    context = make_context(calibration=(torch.randn(16, 3, 16, 16), torch.arange(16) % 10))
    network = networks.random(networks.Plain)
    factorize = Factorize(8.0, "rank", "tucker", 8)
    state = carry_out(network, factorize, Export(), FoldBatchnorm(), *quantize, context=context)
    assert {FACTORIZED, QUANTIZED} <= state.facts
    nodes = [node for node in state.exported_program().graph.nodes if "conv2d" in str(node.target)]
    assert len(nodes) == 2 + 3 + 3
    stored = {name: tensor.dtype for name, tensor in state.exported_program().state_dict.items() if tensor.dim() == 4}
    assert {dtype for name, dtype in stored.items() if name.startswith("first.")} == {torch.float32}
    assert sum(dtype == torch.int8 for dtype in stored.values()) == 3 + 3


class Counting:
    """A device that takes as many nanoseconds as a network has multiply-accumulates, and some for each layer."""

    def __init__(self, for_each: float) -> None:
        self.for_each = for_each

    def __call__(self, state: ModelState) -> float:
        module = state.torch_module()
        shape = tuple(size or 1 for size in state.inputs[0].shape)
        layers = sum(isinstance(part, nn.Linear | nn.Conv2d) for part in module.modules())
        return count_macs(module, (torch.zeros(shape),)) + self.for_each * layers


@pytest.mark.parametrize(
    "step", [Factorize(0.9, multiple=4), Factorize(0.9, "measured", multiple=4), Factorize(4.0, "rank", multiple=4)]
)
def test_a_layer_that_is_not_faster_stays_whole_and_the_report_says_by_how_much(
    step: Factorize, carry_out: Callable[..., ModelState], make_context: Any
) -> None:
    """A second layer costs 3000: more than 32 x 32 products save, less than 256 x 64."""
    network = of_rank(4, 256, 64, 32)
    context = replace(make_context(), measure=Counting(3000.0))
    state = carry_out(network, step, specs=VECTORS, context=context)
    assert factors(state) == {"0": "svd 4"}
    whole, parts = 64 * 32 + 3000, 4 * (64 + 32) + 6000
    assert state.history[-1].notes[-2] == (
        f"left whole: 2: svd 4 is not faster: {whole / 1e3:.1f} -> {parts / 1e3:.1f} us alone"
        f" ({parts / whole - 1:+.0%}); 100.0% of the energy kept, 81% of the multiply-accumulates gone"
    )
    assert state.history[-1].notes[-1].startswith("the whole network: ")


def test_it_goes_all_the_same_where_the_recipe_says_so(carry_out: Callable[..., ModelState], make_context: Any) -> None:
    context = replace(make_context(), measure=Counting(3000.0))
    step = Factorize(0.9, multiple=4, only_if_faster=False)
    state = carry_out(of_rank(4, 256, 64, 32), step, specs=VECTORS, context=context)
    assert factors(state) == {"0": "svd 4", "2": "svd 4"}


def test_the_network_stays_where_its_layers_are_faster_alone_but_not_together(
    carry_out: Callable[..., ModelState], make_context: Any, listener: Any
) -> None:
    def measure(state: ModelState) -> float:
        own = len(list(state.torch_module().modules()))
        return 100.0 * own if own > 4 else 100.0 / own

    network = of_rank(4, 256, 64, 64)
    state = carry_out(
        network, Factorize(0.9, multiple=4), specs=VECTORS, context=replace(make_context(), measure=measure)
    )
    assert factors(state) == {}
    assert FACTORIZED in state.facts
    assert state.torch_module().state_dict().keys() == network.state_dict().keys()
    assert state.history[-1].notes[-1].endswith(": it stays as it was")
    assert "layers that are faster alone are not so together" in listener.warnings[-1]


@pytest.mark.slow
def test_by_the_real_devices_time_a_wide_layer_goes_and_a_small_one_stays(
    carry_out: Callable[..., ModelState], make_context: Any, target: Target
) -> None:
    """4 million products become 65 thousand; 16 x 8 ones, in onnxruntime, are no slower than two layers."""
    network = of_rank(4, 2048, 2048, 16, 8)
    context = replace(make_context(), measure=measure_on(target, LocalDevice(), 1))
    specs = (InputSpec("image", (1, 2048)),)
    state = carry_out(network, Factorize(0.99, "measured", multiple=4), specs=specs, context=context)
    assert factors(state)["0"] in ("svd 4", "svd 8", "svd 12")
    assert "4" not in factors(state)
    assert any(note.startswith("left whole: 4: svd 4 is not faster: ") for note in state.history[-1].notes)
    assert state.history[-1].notes[-1].startswith("the whole network: ")


def test_of_several_ranks_the_fastest_is_taken(carry_out: Callable[..., ModelState], make_context: Any) -> None:
    """A device whose kernels are as fast with twelve as with sixteen, and slow with twenty: sixteen keep more."""

    def measure(state: ModelState) -> float:
        ranks = [part.out_features for part in state.torch_module().modules() if isinstance(part, nn.Linear)]
        return 1000.0 if len(ranks) == 1 else (100.0 if ranks[0] in (12, 16) else 500.0)

    context = replace(make_context(), measure=measure)
    step = Factorize(0.9, "measured", multiple=4)
    assert factors(carry_out(of_rank(12, 256, 64), step, specs=VECTORS, context=context)) == {"0": "svd 16"}


def test_bad_input_is_refused(networks: ModuleType, carry_out: Callable[..., ModelState]) -> None:
    network = networks.random(networks.Plain)
    with pytest.raises(InputError, match=r"factorize\.keep: expected names of .* did you mean first\?, got firts"):
        carry_out(network, Factorize(0.9, keep=("firts",)))
    with pytest.raises(InputError, match=r"factorize\.rank: expected energy or ratio where .* got measured"):
        carry_out(network, Factorize(0.9, "measured"))
    with pytest.raises(InputError, match=r"factorize\.rank: expected at most 31, .* more than 32, got 40"):
        carry_out(network, Factorize(40.0, "rank"))


def test_what_is_kept_stays_and_nothing_at_all_is_warned_of(
    networks: ModuleType, carry_out: Callable[..., ModelState], listener: Any
) -> None:
    network = networks.random(networks.Plain)
    state = carry_out(network, Factorize(0.5, keep=("second",)))
    assert "second.0" not in factors(state)
    assert "left whole: second.0: the recipe keeps it" in state.history[-1].notes
    nothing = carry_out(network, Factorize(0.9999))
    assert (nothing.edits, FACTORIZED in nothing.facts) == ((), True)
    assert listener.warnings[-1] == "factorize: no layer was taken apart: plan.txt says why of each"


@pytest.mark.parametrize(
    "step", [Factorize(0.95), Factorize(16.0, "rank", "cp", 8, ("a.0", "b"), only_if_faster=False)]
)
def test_the_text_form_round_trips(step: Factorize) -> None:
    assert from_text(to_text(step), (Factorize,)) == step


def test_ranks_are_in_the_multiple_that_the_targets_kernels_want(make_recipe: Callable[..., Recipe]) -> None:
    recipe = make_recipe(compress={"factorize": {"rank": "measured", "keep": ("head",)}})
    target = load_target("x86-avx2")
    assert Factorize.for_target(target, recipe) == Factorize(0.9, "measured", multiple=8, keep=("head",))
    plain = target.model_copy(update={"pruning": None})
    assert Factorize.for_target(plain, recipe) == Factorize(0.9, "measured", keep=("head",))
    assert Factorize.for_target(target, make_recipe()) is None


def test_layers_of_a_real_network_are_of_the_rank_that_was_asked_for(
    shared_data: Path, carry_out: Callable[..., ModelState]
) -> None:
    import sys

    sys.path.insert(0, str(shared_data / "models_cifar10"))
    import resnet_cifar

    file = shared_data / "models_cifar10" / "resnet20_cifar10jpeg_derived.pt"
    network = resnet_cifar.load(file, resnet_cifar.resnet20)
    specs = (InputSpec("image", (1, 3, 32, 32)),)
    state = carry_out(network, Factorize(16.0, "rank", "tucker", 8), specs=specs)
    found = {edit.module: edit.factors for edit in state.edits}
    assert found["layer3.0.conv2"] == Factors("tucker", (16, 16))
    images: Tensor = torch.zeros(1, 3, 32, 32)
    assert count_macs(state.torch_module(), (images,)) < 0.6 * count_macs(network, (images,))
