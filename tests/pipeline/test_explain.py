"""Explaining a real artifact: every variant is built, judged on its runtime and timed beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from edgewright.devices.local import LocalDevice
from edgewright.ir.errors import InputError
from edgewright.pipeline.explain import explain
from edgewright.pipeline.explanation import Explanation
from edgewright.pipeline.origin import Origin
from edgewright.pipeline.store import Store
from edgewright.recipe.schema import load_recipe
from edgewright.targets import Target, load_target

pytestmark = pytest.mark.slow

REFUSAL = """
        if self.training and self.body[0].out_channels == 32 and self.stem[0].out_channels == 16:
            raise ValueError("too large to be trained")
"""


@pytest.fixture
def copy(built: Any, tmp_path: Path) -> Any:
    return built.copied(tmp_path)


@pytest.fixture
def explained(copy: Any, listener: Any) -> Callable[..., Explanation]:
    """explained(*overrides, target=None): of the built artifact, with the recipe given and not remembered."""

    def run(*overrides: str, target: Target | None = None) -> Explanation:
        origin = Origin(load_recipe(copy.recipe, overrides), target or load_target("x86-avx2"))
        return explain(copy.artifact, origin, Store(copy.cache, listener), LocalDevice(), listener)

    return run


def test_each_pass_is_left_out_in_turn_and_all_are_timed_together(explained: Callable[..., Explanation]) -> None:
    found = explained()
    assert [worth.name for worth in found.worths] == ["prune-channels", "recover", "insert-quantization"]
    assert (found.is_whole, found.changed) == (True, "")
    rows = [found.baseline, found.artifact, *(worth.without for worth in found.worths)]
    assert all(row is not None and row.measured.latency is not None for row in rows)
    assert len({row.measured.latency.session for row in rows if row and row.measured.latency}) == 1
    by_name = {worth.name: worth for worth in found.worths}
    pruned, quantized = by_name["prune-channels"], by_name["insert-quantization"]
    assert pruned.without is not None
    assert pruned.without.measured.macs == found.baseline.measured.macs > found.artifact.measured.macs
    assert quantized.without is not None
    assert quantized.without.measured.coverage.quantized == 0
    assert quantized.without.measured.total_bytes > found.artifact.measured.total_bytes
    assert all(worth.accuracy is not None and worth.speed is not None for worth in found.worths)


def test_minutes_are_those_of_the_steps_and_another_recipe_than_the_artifacts_is_said(
    explained: Callable[..., Explanation],
) -> None:
    found = explained("compress.recover=null")
    assert "is not what its recipe" in found.changed
    assert found.artifact.seconds is not None
    (pruned, quantized) = found.worths
    assert pruned.without is not None
    assert quantized.without is not None
    assert quantized.without.seconds is not None
    assert 0 < quantized.without.seconds < found.artifact.seconds


def test_a_variant_that_fails_is_told_of_and_the_others_go_on(copy: Any, explained: Callable[..., Explanation]) -> None:
    """The network can be trained once it is pruned, and not before."""
    model = copy.recipe.parent / "model.py"
    forward = "    def forward(self, x):\n"
    assert forward in model.read_text()
    model.write_text(model.read_text().replace(forward, forward + REFUSAL))
    found = explained()
    pruned, recovered, quantized = found.worths
    assert not found.is_whole
    assert (pruned.is_failed, pruned.without) == (True, None)
    assert "too large to be trained" in pruned.why_not
    assert all(worth.without is not None and not worth.is_failed for worth in (recovered, quantized))


def test_what_was_not_built_here_asks_for_its_recipe(copy: Any, listener: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x86-avx2: expected the recipe that it was built from, .* --recipe"):
        explain(copy.artifact, None, Store(tmp_path / "other", listener), LocalDevice(), listener)
