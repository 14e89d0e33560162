from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest
import torch
from edgewright.channels.costs import count_macs, count_parameters
from edgewright.ir.errors import InputError, StepError
from edgewright.ir.examples import example_inputs
from edgewright.ir.state import InputSpec, ModelState, apply_edits, load, save
from edgewright.passes.contract import Context, Skip
from edgewright.passes.prune_channels import PruneChannels
from edgewright.passes.text import from_text, to_text
from edgewright.recipe.datasets import Batch
from edgewright.recipe.pruning import LEARNED, Criterion
from edgewright.recipe.schema import Recipe
from edgewright.targets import Target
from edgewright.training.loop import TrainingOptions
from edgewright.training.penalised import Regularization
from torch import nn

SPECS = (InputSpec("image", (None, 3, 16, 16)),)
KINDS = [
    "Plain", "Flattened", "Residual", "PaddedResidual", "DepthwiseSeparable", "Grouped", "Dense", "SqueezeExcite",
    "Shuffled", "Attention", "Perceptron", "Untraceable",
]  # fmt: skip


@dataclass(frozen=True)
class Stripes:
    """Images of four classes: stripes of two widths in two directions, with noise."""

    images: torch.Tensor
    labels: torch.Tensor
    name: str = "calibration"

    @classmethod
    def drawn(cls, count: int, seed: int) -> Stripes:
        generator = torch.Generator().manual_seed(seed)
        labels = torch.randint(0, 4, (count,), generator=generator)
        wave = torch.sin(torch.arange(16) * (1.0 + 0.7 * (labels % 2))[:, None])
        images = wave[:, None, :, None].expand(-1, 3, -1, 16).clone()
        images[labels >= 2] = images[labels >= 2].transpose(2, 3)
        return cls(images + 0.3 * torch.randn(images.shape, generator=generator), labels)

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: Sequence[int]) -> Stripes:
        return Stripes(self.images[list(indices)], self.labels[list(indices)])

    def batches(self, size: int, *, limit: int | None = None, order_seed: int | None = None) -> Iterator[Batch]:
        for start in range(0, min(limit or len(self), len(self)), size):
            yield Batch((self.images[start : start + size],), self.labels[start : start + size])


class Rows(nn.Module):
    """Reads an image row by row: a linear layer, two recurrent ones one after the other, and a linear one."""

    def __init__(self, kind: type[nn.RNNBase], **options: Any) -> None:
        super().__init__()
        self.embed, self.first = nn.Linear(48, 16), kind(16, 24, batch_first=True, **options)
        self.second = nn.GRU(24 * (1 + self.first.bidirectional), 16, batch_first=True)
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = self.embed(x.transpose(1, 2).flatten(2)).relu()
        outputs: torch.Tensor = self.head(self.second(self.first(rows)[0])[1][-1])
        return outputs


class Splits:
    """The one split, under every name."""

    def has(self, name: str) -> bool:
        return True

    def split(self, name: str) -> Stripes:
        return Stripes.drawn(128, seed=0)


def run(step: PruneChannels, module: nn.Module, scratch: Path, seed: int = 0) -> tuple[ModelState, list[str]]:
    notes: list[str] = []
    context = Context(Splits(), "classification", seed, scratch, notes.append)
    return step.run(ModelState(SPECS, module), context), notes


def widths(module: nn.Module) -> dict[str, int]:
    return {
        name: layer.weight.shape[0]
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    }


@pytest.fixture(scope="session")
def trained(networks: ModuleType) -> nn.Module:
    """`Residual`, trained on the stripes until it tells them apart."""
    module = networks.random(networks.Residual).train()
    optimizer = torch.optim.Adam(module.parameters(), 3e-3)
    for epoch in range(3):
        for batch in Stripes.drawn(128, epoch + 1).batches(16):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(*batch.inputs), batch.labels).backward()
            optimizer.step()
    return module.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_network_is_pruned_runs_and_can_be_built_again(
    kind: str, networks: ModuleType, tmp_path: Path
) -> None:
    before = networks.random(getattr(networks, kind))
    original = copy.deepcopy(before.state_dict())
    state, notes = run(PruneChannels(0.4, multiple=8), before, tmp_path)
    after = state.torch_module()
    image = torch.randn(2, 3, 16, 16)
    assert after(image).shape == before(image).shape
    assert count_macs(after, (image,)) < count_macs(before, (image,))
    assert count_parameters(after) < count_parameters(before)
    assert all(torch.equal(tensor, original[name]) for name, tensor in before.state_dict().items())
    folder = tmp_path / "state"
    folder.mkdir()
    save(state, folder)
    again = load(folder, lambda: getattr(networks, kind)()).torch_module()
    assert torch.equal(again(image), after(image))
    pruned = [name for name, width in widths(after).items() if width < widths(before)[name]]
    assert all(widths(after)[name] % 8 == 0 for name in pruned)
    assert all(any(f"{name}: " in note for note in notes) for name in pruned)


@pytest.mark.parametrize(
    ("kind", "layers", "reason"),
    [
        ("PaddedResidual", ["first.1.0", "second.1.0", "stem.0"], "mixes, moves or counts"),
        ("Shuffled", ["stem.0", "branch.1.0"], "can't run without"),
        ("Attention", ["embed", "join", "back"], "LayerNorm"),
        ("Attention", ["mix"], "can't run without"),
        ("Untraceable", ["hidden"], "autograd records no path"),
        ("Plain", ["head"], "an output of the network"),
    ],
)
def test_what_cannot_be_pruned_is_named_with_its_reason_and_left_whole(
    kind: str, layers: list[str], reason: str, networks: ModuleType, tmp_path: Path
) -> None:
    before = networks.random(getattr(networks, kind))
    state, notes = run(PruneChannels(0.9, multiple=4), before, tmp_path)
    line = next(note for note in notes if note.startswith("left whole: ") and reason in note)
    assert all(layer in line for layer in layers)
    assert all(widths(state.torch_module())[layer] == widths(before)[layer] for layer in layers)


@pytest.mark.parametrize(("measure", "count"), [("flops", count_macs), ("parameters", count_parameters)])
@pytest.mark.parametrize("scope", ["global", "per-layer"])
def test_the_asked_part_is_reached_and_said(
    measure: Any, scope: Any, count: Any, networks: ModuleType, tmp_path: Path
) -> None:
    before = networks.random(networks.Residual)
    arguments = (example_inputs(SPECS),) if measure == "flops" else ()
    state, notes = run(PruneChannels(0.5, measure=measure, scope=scope), before, tmp_path)
    gone = 1 - count(state.torch_module(), *arguments) / count(before, *arguments)
    assert notes[0].startswith(f"{gone:.1%} of the ")
    one_channel = 1 / 16
    assert abs(gone - 0.5) < one_channel


def test_half_of_the_channels_that_can_go(networks: ModuleType, tmp_path: Path) -> None:
    before = networks.random(networks.Perceptron)
    state, _ = run(PruneChannels(0.5, measure="channels", scope="per-layer"), before, tmp_path)
    assert widths(state.torch_module()) == {"layers.1": 16, "layers.3": 8, "head": 10}


def test_an_amount_that_is_out_of_reach_is_warned_about(networks: ModuleType, tmp_path: Path, listener: Any) -> None:
    context = Context(Splits(), "classification", 0, tmp_path, listener.said.append, listener)
    PruneChannels(0.95, multiple=8).run(ModelState(SPECS, networks.random(networks.Attention)), context)
    assert len(listener.warnings) == 1
    assert "asked for 95.0%" in listener.warnings[0]


def test_a_network_without_prunable_layers_fails_with_the_reasons(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(768, 10))
    with pytest.raises(StepError, match="1: its channels are an output of the network"):
        run(PruneChannels(0.5), module, tmp_path)


def test_layers_of_the_recipe_are_left_alone_on_both_sides(networks: ModuleType, tmp_path: Path) -> None:
    before = networks.random(networks.Plain)
    state, notes = run(PruneChannels(0.3, keep=("second",)), before, tmp_path)
    kept, old = state.torch_module().get_submodule("second"), before.get_submodule("second")
    assert {name: tensor.shape for name, tensor in kept.state_dict().items()} == {
        name: tensor.shape for name, tensor in old.state_dict().items()
    }
    assert widths(state.torch_module())["third.0"] < 24
    assert any("the recipe keeps second.0" in note for note in notes)


def test_an_unknown_layer_to_keep_is_refused_with_near_names(networks: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"did you mean second\b") as caught:
        run(PruneChannels(0.3, keep=("secnd", "nowhere")), networks.random(networks.Plain), tmp_path)
    assert len(caught.value.problems) == 2


def test_the_same_seed_gives_the_same_network_and_another_seed_another(networks: ModuleType, tmp_path: Path) -> None:
    before, step = networks.random(networks.Plain), PruneChannels(0.5, criterion="random", scope="per-layer")
    first, second, other = (run(step, before, tmp_path, seed)[0].torch_module() for seed in (0, 0, 1))
    image = torch.randn(2, 3, 16, 16)
    assert torch.equal(first(image), second(image))
    assert not torch.equal(first(image), other(image))


@pytest.mark.parametrize("criterion", ["l1", "l2", "batchnorm", "taylor", "geometric-median", "entropy"])
def test_each_criterion_keeps_other_channels_than_chance(
    criterion: Any, networks: ModuleType, trained: nn.Module, tmp_path: Path
) -> None:
    image = torch.randn(2, 3, 16, 16)
    step, chance = (PruneChannels(0.5, criterion=name, scope="per-layer") for name in (criterion, "random"))
    outputs = [run(each, trained, tmp_path)[0].torch_module()(image) for each in (step, chance)]
    assert not torch.equal(*outputs)


@pytest.mark.parametrize("criterion", ["slimming", "group-l2"])
def test_a_learned_criterion_prepares_the_network_for_what_goes(
    criterion: Any, trained: nn.Module, tmp_path: Path
) -> None:
    """After training with the penalty less is lost than after the same training where it counts as good as nothing."""

    def loss(strength: float) -> float:
        options = TrainingOptions(8, learning_rate=0.01, batch_size=16)
        step = PruneChannels(0.6, criterion=criterion, regularize=Regularization(strength, options))
        module = run(step, trained, tmp_path)[0].torch_module()
        batch = next(Stripes.drawn(128, seed=99).batches(128))
        with torch.no_grad():
            return float(nn.functional.cross_entropy(module(*batch.inputs), batch.labels))

    strong, weak = loss(0.01), loss(1e-9)
    assert strong < weak


@pytest.mark.parametrize("criterion", ["slimming", "group-l2"])
def test_a_learned_criterion_trains_then_prunes(
    criterion: Any, networks: ModuleType, trained: nn.Module, tmp_path: Path
) -> None:
    options = TrainingOptions(2, batch_size=16)
    step = PruneChannels(0.5, criterion=criterion, regularize=Regularization(0.01, options))
    assert step.reads == {"train"}
    assert from_text(to_text(step), (PruneChannels,)) == step
    before = copy.deepcopy(trained.state_dict())
    state, notes = run(step, trained, tmp_path)
    assert notes[0].startswith(f"trained with the penalty of {criterion}: ")
    before_and_after = [float(value) for value in notes[0].split(": ")[1].split(";")[0].split(" -> ")]
    assert before_and_after[1] < before_and_after[0]
    assert "; held-out loss " in notes[0]
    assert notes[1].endswith("asked for 50.0%")
    assert all(torch.equal(tensor, before[name]) for name, tensor in trained.state_dict().items())
    again = apply_edits(networks.Residual(), state.edits)
    again.load_state_dict(state.torch_module().state_dict())


def test_slimming_needs_scales_to_learn(networks: ModuleType, tmp_path: Path) -> None:
    step = PruneChannels(0.5, criterion="slimming", regularize=Regularization(0.01, TrainingOptions(1)))
    with pytest.raises(InputError, match="no channel that can go has a batch norm with a scale to learn, got slimming"):
        run(step, networks.random(networks.Perceptron), tmp_path)


def test_taylor_loses_less_than_chance(trained: nn.Module, tmp_path: Path) -> None:
    def loss(criterion: Any, seed: int) -> float:
        step = PruneChannels(0.4, criterion=criterion, scope="per-layer")
        module = run(step, trained, tmp_path, seed)[0].torch_module()
        batch = next(Stripes.drawn(128, seed=99).batches(128))
        with torch.no_grad():
            return float(nn.functional.cross_entropy(module(*batch.inputs), batch.labels))

    by_chance = sorted(loss("random", seed) for seed in range(5))
    assert loss("taylor", 0) < by_chance[2]


def test_later_edits_are_merged_with_earlier_ones(networks: ModuleType, tmp_path: Path) -> None:
    first, _ = run(PruneChannels(0.3), networks.random(networks.Residual), tmp_path)
    context = Context(Splits(), "classification", 0, tmp_path, lambda note: None)
    second = PruneChannels(0.3).run(first, context)
    again = apply_edits(networks.Residual(), second.edits)
    again.load_state_dict(second.torch_module().state_dict())
    image = torch.randn(2, 3, 16, 16)
    assert torch.equal(again.eval()(image), second.torch_module()(image))


def test_several_steps_end_where_one_does(networks: ModuleType, tmp_path: Path) -> None:
    before, image = networks.random(networks.Residual), example_inputs(SPECS)
    once, thrice = (run(PruneChannels(0.5, steps=steps), before, tmp_path)[0].torch_module() for steps in (1, 3))
    one_channel = count_macs(before, image) / 16
    assert abs(count_macs(once, image) - count_macs(thrice, image)) < one_channel


def test_a_step_that_costs_too_much_is_taken_back_with_its_shapes_and_its_edits(
    trained: nn.Module, networks: ModuleType, tmp_path: Path, listener: Any
) -> None:
    step = PruneChannels(0.8, scope="per-layer", steps=2, most_loss=10.0)
    context = Context(Splits(), "classification", 0, tmp_path, listener.said.append, listener)
    state = step.run(ModelState(SPECS, trained), context)
    after = state.torch_module()
    gone = 1 - count_macs(after, example_inputs(SPECS)) / count_macs(trained, example_inputs(SPECS))
    kept, taken_back = (note for note in listener.said if note.startswith("step "))
    assert kept.startswith(f"step 1 of 2 ({gone:.1%} of the multiply-accumulates gone) is kept: held-out top-1 ")
    assert taken_back.startswith("step 2 of 2 (")
    assert " is taken back: held-out top-1 " in taken_back
    assert any("pruning ends with what the steps before it took" in warning for warning in listener.warnings)
    assert f"{gone:.1%} of the multiply-accumulates are gone, asked for 80.0%" in listener.said
    again = apply_edits(networks.Residual(), state.edits)
    again.load_state_dict(after.state_dict())
    image = torch.randn(2, 3, 16, 16)
    assert torch.equal(again.eval()(image), after(image))


def test_where_the_first_step_costs_too_much_the_network_stays_as_it_is(
    trained: nn.Module, tmp_path: Path, listener: Any
) -> None:
    context = Context(Splits(), "classification", 0, tmp_path, listener.said.append, listener)
    state = PruneChannels(0.95, most_loss=0.0).run(ModelState(SPECS, trained), context)
    assert state.edits == ()
    assert widths(state.torch_module()) == widths(trained)
    assert len(listener.warnings) == 1


def test_training_between_steps_is_said_and_changes_what_is_left(trained: nn.Module, tmp_path: Path) -> None:
    plain, trains = (
        PruneChannels(0.5, steps=2, recover=options) for options in (None, TrainingOptions(1, batch_size=16))
    )
    without, _ = run(plain, trained, tmp_path)
    recovered, notes = run(trains, trained, tmp_path)
    assert any(note.startswith("training after step 1: loss ") for note in notes)
    assert not any(note.startswith("training after step 2") for note in notes)
    image = torch.randn(2, 3, 16, 16)
    assert not recovered.torch_module().training
    assert not torch.equal(without.torch_module()(image), recovered.torch_module()(image))


@pytest.mark.parametrize(
    "step",
    [
        PruneChannels(0.5),
        PruneChannels(0.25, "parameters", "taylor", "per-layer", 16, ("stem", "layer1.0"), 4, TrainingOptions(0.5)),
    ],
)
def test_the_text_form_round_trips(step: PruneChannels) -> None:
    assert from_text(to_text(step), (PruneChannels,)) == step


def test_only_what_a_run_reads_is_declared() -> None:
    assert PruneChannels(0.5).reads == frozenset()
    assert PruneChannels(0.5, criterion="taylor").reads == {"calibration"}
    assert PruneChannels(0.5, criterion="entropy").reads == {"calibration"}
    assert PruneChannels(0.5, steps=2, recover=TrainingOptions(1)).reads == {"train"}
    assert PruneChannels(0.5, criterion="taylor", most_loss=1.0).reads == {"train", "calibration"}


TARGET = {
    "name": "board",
    "summary": "a board",
    "runtime": "onnxruntime",
    "isa": {"architecture": "x86_64", "flags": ("avx2",), "source": "a datasheet"},
    "pruning": {"channel_multiple": 16, "source": "a measurement"},
}


def recipe(compress: dict[str, Any]) -> Recipe:
    model = {"source": "model.py:build", "inputs": {"image": {"shape": (1, 3, 16, 16)}}}
    return Recipe.model_validate(
        {"path": Path("recipe.yaml"), "model": model, "data": "data.py:splits", "compress": compress}
    )


def test_the_recipe_and_the_target_give_all_fields() -> None:
    prune = {"flops": 0.4, "criterion": "taylor", "steps": 3, "recover_epochs": 0.5, "keep": ("stem",)}
    prune |= {"schedule": "cubic", "most_loss": 1.5}
    asked = recipe({"prune": prune, "recover": {"optimizer": "sgd", "learning_rate": 0.05}})
    assert PruneChannels.for_target(Target.model_validate(TARGET), asked) == PruneChannels(
        amount=0.4,
        criterion="taylor",
        multiple=16,
        keep=("stem",),
        steps=3,
        recover=TrainingOptions(0.5, optimizer="sgd", learning_rate=0.05),
        schedule="cubic",
        most_loss=1.5,
    )


def test_a_learned_criterion_is_trained_as_the_recipe_trains() -> None:
    prune = {"flops": 0.4, "criterion": "slimming", "regularize": 0.01, "regularize_epochs": 3.0}
    asked = recipe({"prune": prune, "recover": {"optimizer": "sgd"}})
    step = PruneChannels.for_target(Target.model_validate(TARGET), asked)
    assert isinstance(step, PruneChannels)
    assert step.regularize == Regularization(0.01, TrainingOptions(3.0, optimizer="sgd"))
    plain = PruneChannels.for_target(Target.model_validate(TARGET), recipe({"prune": {"flops": 0.4}}))
    assert isinstance(plain, PruneChannels)
    assert plain.regularize is None


def test_what_the_recipe_does_not_ask_for_is_no_step_and_what_would_not_pay_is_skipped() -> None:
    target = Target.model_validate(TARGET)
    silent = Target.model_validate({key: value for key, value in TARGET.items() if key != "pruning"})
    assert PruneChannels.for_target(target, recipe({})) is None
    assert PruneChannels.for_target(target, recipe({"prune": {"weights": 0.5, "granularity": "element"}})) is None
    unsaid = PruneChannels.for_target(silent, recipe({"prune": {"flops": 0.5}}))
    assert isinstance(unsaid, Skip)
    assert "compress.prune.multiple" in unsaid.why
    chosen = PruneChannels.for_target(silent, recipe({"prune": {"flops": 0.5, "multiple": 4}}))
    assert chosen == PruneChannels(0.5, multiple=4)


def test_the_inner_channels_of_a_residual_network_with_padded_shortcuts_are_halved(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(shared_data / "models_cifar10")
    import resnet_cifar  # type: ignore[import-not-found]

    before = resnet_cifar.resnet20().eval()
    specs = (InputSpec("image", (1, 3, 32, 32)),)
    context = Context(Splits(), "classification", 0, tmp_path, lambda note: None)
    after = PruneChannels(0.5, multiple=8, scope="per-layer").run(ModelState(specs, before), context).torch_module()
    inner = {name: width for name, width in widths(after).items() if width < widths(before)[name]}
    assert inner == {
        f"layer{stage}.{block}.conv1": width for stage, width in ((1, 8), (2, 16), (3, 32)) for block in range(3)
    }


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}], ids=str)
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_recurrent_networks_are_pruned_run_and_can_be_built_again(
    kind: type[nn.RNNBase], options: Any, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    before = Rows(kind, **options)
    state, notes = run(PruneChannels(0.5, multiple=4), before, tmp_path)
    after: Any = state.torch_module()
    sizes = {"embed": 16, "first": 24, "second": 16}
    found = {"embed": after.embed.out_features, "first": after.first.hidden_size, "second": after.second.hidden_size}
    assert any(found[name] < size for name, size in sizes.items())
    assert all(size % 4 == 0 for size in found.values())
    for name, size in sizes.items():
        assert (f"{name}: {size} -> {found[name]} channels" in notes) == (found[name] < size)
    folder = tmp_path / "state"
    folder.mkdir()
    save(state, folder)
    image = torch.randn(2, 3, 16, 16)
    assert torch.equal(load(folder, lambda: Rows(kind, **options)).torch_module()(image), after(image))


@pytest.mark.parametrize("criterion", get_args(Criterion))
def test_every_criterion_ranks_hidden_units(criterion: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    regularize = Regularization(0.01, TrainingOptions(0.5, batch_size=16)) if criterion in LEARNED else None
    step = PruneChannels(0.5, criterion=criterion, scope="per-layer", regularize=regularize)
    if criterion == "slimming":
        with pytest.raises(InputError, match="no channel that can go has a batch norm"):
            run(step, Rows(nn.LSTM), tmp_path)
        return
    after: Any = run(step, Rows(nn.LSTM), tmp_path)[0].torch_module()
    assert after.first.hidden_size < 24
    assert after.second.hidden_size < 16
    assert after.embed.out_features < 16
