"""Planning from facts: toy passes whose declarations are those of the real ones, and random ones."""

from __future__ import annotations

import dataclasses
import itertools
from types import SimpleNamespace
from typing import Any

import pytest
from edgewright.ir.errors import PlanError, StepError
from edgewright.ir.facts import (
    BATCHNORM_FOLDED,
    CHANNELS_PRUNED,
    EXPORTED,
    QUANTIZED,
    RANGES_CALIBRATED,
    RECOVERED,
    Aspect,
    Fact,
)
from edgewright.ir.state import InputSpec, ModelState
from edgewright.passes import manager
from edgewright.passes.contract import Close, Context, Exact, Lossy, Skip, breaks, facts_after
from hypothesis import given, settings
from hypothesis import strategies as st

SPARSE_2_4 = Fact("2:4 sparse", frozenset({Aspect.ZEROS, Aspect.SHAPES}))
EQUALIZED = Fact("ranges equalized", frozenset({Aspect.SHAPES}))
QUANTIZATION_TRAINED = Fact("quantization trained", frozenset({Aspect.FUNCTION}))
LOSSY = Lossy("a toy")


def toy(
    name: str,
    needs: set[Fact] = frozenset(),
    makes: set[Fact] = frozenset(),
    touches: set[Aspect] = frozenset(),
    keeps: set[Fact] = frozenset(),
    asks: str | None = None,
    answer: Any = None,
) -> type:
    """A pass with these declarations that is chosen for every target, unless `answer` says otherwise."""

    def for_target(cls: type, target: Any, recipe: Any) -> Any:
        return cls() if answer is None else answer(target)

    body = {
        "name": name,
        "needs": frozenset(needs),
        "makes": frozenset(makes),
        "touches": frozenset(touches),
        "keeps": frozenset(keeps),
        "numerics": LOSSY,
        "asks": asks,
        "reads": frozenset(),
        "decides": "",
        "for_target": classmethod(for_target),
        "run": lambda self, state, context: state,
    }
    return dataclasses.dataclass(frozen=True)(type(name.title().replace("-", ""), (), body))


WEIGHTS = {Aspect.ZEROS, Aspect.VALUES, Aspect.FUNCTION, Aspect.RANGES}


def has_sparse_cores(target: Any) -> Any:
    return SPARSIFY() if target.sparse else Skip("2:4 sparsity", f"{target.name} has no sparse kernels")


PRUNE = toy("prune-channels", makes={CHANNELS_PRUNED}, touches={Aspect.SHAPES, *WEIGHTS}, asks="compress.prune")
SPARSIFY = toy("sparsify", makes={SPARSE_2_4}, touches=WEIGHTS, asks="compress.sparsify", answer=has_sparse_cores)
RECOVER = toy(
    "recover",
    makes={RECOVERED},
    touches={Aspect.VALUES, Aspect.FUNCTION, Aspect.RANGES, Aspect.ZEROS},
    keeps={SPARSE_2_4},
    asks="compress.recover",
)
EXPORT = toy("export", makes={EXPORTED})
FOLD = toy(
    "fold-batchnorm",
    needs={EXPORTED},
    makes={BATCHNORM_FOLDED},
    touches={Aspect.TOPOLOGY, Aspect.VALUES},
    keeps={EXPORTED},
)
CALIBRATE = toy("calibrate", needs={EXPORTED, BATCHNORM_FOLDED}, makes={RANGES_CALIBRATED})
INSERT = toy(
    "insert-quantization",
    needs={RANGES_CALIBRATED},
    makes={QUANTIZED},
    touches={Aspect.NUMERICS},
    asks="compress.quantize",
)
TRAIN_QUANTIZED = toy(
    "train-quantized",
    needs={QUANTIZED},
    makes={QUANTIZATION_TRAINED},
    touches={Aspect.VALUES, Aspect.FUNCTION, Aspect.RANGES},
    keeps={EXPORTED, RECOVERED, SPARSE_2_4},
    asks="compress.quantize",
)
CHAIN = (PRUNE, SPARSIFY, RECOVER, EXPORT, FOLD, CALIBRATE, INSERT, TRAIN_QUANTIZED)


def target(name: str = "toy-board", sparse: bool = True) -> Any:
    return SimpleNamespace(name=name, sparse=sparse)


def names(passes: Any, board: Any = None, needs: frozenset[Fact] = frozenset({EXPORTED})) -> list[str]:
    found = manager.plan(None, board or target(), passes, "emitter", needs)
    return [step.step.name for step in found.steps]


def test_derives_the_whole_chain_in_order() -> None:
    expected = ["prune-channels", "sparsify", "recover", "export", "fold-batchnorm", "calibrate"]
    assert names(CHAIN[:-1]) == [*expected, "insert-quantization"]


def test_the_order_differs_between_targets_and_a_skip_says_why() -> None:
    plan = manager.plan(None, target(sparse=False), CHAIN[:-1], "emitter", frozenset({EXPORTED}))
    assert "sparsify" not in [step.step.name for step in plan.steps]
    assert plan.skips == (Skip("2:4 sparsity", "toy-board has no sparse kernels"),)


def test_training_that_needs_ranges_runs_after_they_were_used() -> None:
    """It ends the ranges, so it can't run before calibrate, which it needs through insert-quantization."""
    assert names(CHAIN)[-2:] == ["insert-quantization", "train-quantized"]


def test_a_breaker_of_the_goal_that_does_not_keep_it_is_refused() -> None:
    careless = toy(
        "train-carelessly",
        needs={QUANTIZED},
        makes={QUANTIZATION_TRAINED},
        touches={Aspect.ZEROS, Aspect.FUNCTION},
        asks="compress.quantize",
    )
    with pytest.raises(PlanError, match="train-carelessly ends 'exported'"):
        names((EXPORT, FOLD, CALIBRATE, INSERT, careless))


@pytest.mark.parametrize("order", list(itertools.islice(itertools.permutations(CHAIN), 0, None, 997)))
def test_the_order_of_all_is_irrelevant(order: tuple[type, ...]) -> None:
    assert names(order) == names(CHAIN)


def test_an_unrelated_pass_changes_no_plan() -> None:
    unrelated = toy("unrelated", makes={Fact("unrelated", frozenset({Aspect.LAYOUT}))}, touches={Aspect.LAYOUT})
    assert names((*CHAIN, unrelated)) == names(CHAIN)


def test_two_makers_or_none_are_named() -> None:
    other = toy("calibrate-otherwise", makes={RANGES_CALIBRATED})
    with pytest.raises(PlanError, match="found calibrate, calibrate-otherwise"):
        names((*CHAIN, other))
    with pytest.raises(PlanError, match="'exported' needs exactly one pass that makes it, found none"):
        names((PRUNE,))


def test_a_cycle_names_its_passes() -> None:
    one, two = Fact("one", frozenset({Aspect.VALUES})), Fact("two", frozenset({Aspect.VALUES}))
    first = toy("first", makes={one}, touches={Aspect.VALUES}, asks="a")
    second = toy("second", makes={two}, touches={Aspect.VALUES}, asks="b")
    with pytest.raises(PlanError, match=r"cannot be: (first -> second|second -> first)"):
        names((first, second, EXPORT))


def test_replay_rejects_what_ends_too_early() -> None:
    with pytest.raises(PlanError, match="calibrate needs"):
        manager.replay([EXPORT(), CALIBRATE(), FOLD()], frozenset())
    with pytest.raises(PlanError, match="ends without 'exported'"):
        manager.replay([EXPORT(), RECOVER()], frozenset({EXPORTED}))


def test_facts_end_by_what_is_touched() -> None:
    assert breaks(RECOVER, EXPORTED)
    assert breaks(PRUNE, RECOVERED)
    assert not breaks(INSERT, EXPORTED)
    assert not breaks(RECOVER, SPARSE_2_4)
    assert facts_after(RECOVER, frozenset({CHANNELS_PRUNED, EXPORTED})) == {CHANNELS_PRUNED, RECOVERED}


_FACTS = [Fact(f"fact {index}", frozenset()) for index in range(5)]


@st.composite
def passes(draw: st.DrawFn) -> tuple[type, ...]:
    """Up to five passes, one maker for each fact, with random needs, touched aspects and kept facts."""
    facts = [Fact(fact.name, draw(st.frozensets(st.sampled_from(list(Aspect)), max_size=3))) for fact in _FACTS]
    some = st.frozensets(st.sampled_from(facts), max_size=2)
    return tuple(
        toy(
            f"pass-{index}",
            needs=draw(some) - {fact},
            makes={fact},
            touches=draw(st.frozensets(st.sampled_from(list(Aspect)), max_size=3)),
            keeps=draw(some),
            asks=draw(st.sampled_from([None, "key"])),
        )
        for index, fact in enumerate(facts)
    )


@settings(max_examples=400, deadline=None)
@given(passes(), st.randoms())
def test_every_plan_is_one_that_replay_accepts_whatever_the_order_of_all(kinds: tuple[type, ...], random: Any) -> None:
    def planned(order: tuple[type, ...]) -> list[str] | str:
        try:
            found = manager.plan(None, target(), order, "emitter", frozenset())
        except PlanError as error:
            return type(error).__name__
        manager.replay([step.step for step in found.steps], found.goal)
        return [step.step.name for step in found.steps]

    shuffled = list(kinds)
    random.shuffle(shuffled)
    assert planned(tuple(shuffled)) == planned(kinds)


def _context() -> Context:
    return Context(data=None, task="classification", seed=0, scratch=None, say=lambda message: None)


def _state() -> ModelState:
    import torch

    return ModelState(inputs=(InputSpec("x", (1, 2)),), module=torch.nn.Linear(2, 2).eval())


def test_run_records_what_the_pass_said_and_sets_its_facts() -> None:
    kind = toy("speak", makes={RECOVERED}, touches={Aspect.FUNCTION})
    kind.run = lambda self, state, context: (context.say("because"), state)[1]
    after = manager.run(kind(), _state(), _context())
    assert after.facts == {RECOVERED}
    assert [(record.step, record.notes) for record in after.history] == [("speak{}", ("because",))]


def test_run_refuses_what_a_pass_claims_but_the_model_does_not_show() -> None:
    with pytest.raises(StepError, match="says that it makes 'exported'"):
        manager.run(EXPORT(), _state(), _context())
    with pytest.raises(StepError, match="needs 'ranges calibrated'"):
        manager.run(INSERT(), _state(), _context())


@pytest.mark.parametrize(("numerics", "factor", "is_fine"), [
    (Exact(), 1.0, True),
    (Exact(), 1.001, False),
    (Close(1e-2), 1.001, True),
    (Close(1e-5), 1.001, False),
    (LOSSY, 2.0, True),
])  # fmt: skip
def test_run_checks_declared_numerics_on_the_probe(numerics: Any, factor: float, is_fine: bool) -> None:
    import torch

    def scale(self: Any, state: ModelState, context: Context) -> ModelState:
        weight = state.torch_module().weight.detach() * factor
        module = torch.nn.Linear(2, 2).eval()
        module.load_state_dict({"weight": weight, "bias": state.torch_module().bias.detach() * factor})
        return dataclasses.replace(state, module=module)

    kind = toy("scale", makes={RECOVERED})
    kind.numerics, kind.run = numerics, scale
    probe = (torch.ones(1, 2),)
    if is_fine:
        assert manager.run(kind(), _state(), _context(), probe).facts == {RECOVERED}
        return
    with pytest.raises(StepError, match="scale: declares"):
        manager.run(kind(), _state(), _context(), probe)


@pytest.mark.parametrize(("before", "after", "is_fine"), [
    ([1.0, float("-inf"), float("nan")], [1.0, float("-inf"), float("nan")], True),
    ([1.0, float("-inf"), 0.0], [1.0, 0.0, 0.0], False),
    ([1.0, 2.0, 0.0], [1.0, 2.0, float("nan")], False),
    ([True, False], [True, False], True),
    ([True, False], [True, True], False),
    ([1, 2], [1], False),
    ([], [], True),
])  # fmt: skip
def test_outputs_of_every_kind_can_be_compared(before: list[Any], after: list[Any], is_fine: bool) -> None:
    """Masked scores are -inf, answers may be whole numbers or truth values, and there may be none."""
    import torch

    class Constant(torch.nn.Module):
        def __init__(self, values: list[Any]) -> None:
            super().__init__()
            self.values = torch.tensor(values)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.values

    kind = toy("set", makes={RECOVERED})
    kind.numerics = Close(1e-5)
    kind.run = lambda self, state, context: dataclasses.replace(state, module=Constant(after))
    state, probe = ModelState(inputs=(InputSpec("x", (1, 2)),), module=Constant(before)), (torch.ones(1, 2),)
    if is_fine:
        assert manager.run(kind(), state, _context(), probe).facts == {RECOVERED}
        return
    with pytest.raises(StepError, match="set: "):
        manager.run(kind(), state, _context(), probe)
