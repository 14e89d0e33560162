"""Facts rest on what they say, and `holds` looks at the model."""

from __future__ import annotations

import torch
from edgewright.ir.facts import EXPORTED, FACTS, Aspect
from edgewright.ir.state import InputSpec, ModelState


def test_exported_rests_on_everything_but_numerics() -> None:
    assert EXPORTED.rests_on == frozenset(Aspect) - {Aspect.NUMERICS}


def test_names_are_unique_and_past_participles_read_as_words() -> None:
    assert len({fact.name for fact in FACTS}) == len(FACTS)


def test_holds_looks_at_the_model() -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2)).eval()
    inputs = (InputSpec("x", (1, 1, 4, 4)),)
    eager = ModelState(inputs=inputs, module=module)
    exported = ModelState(inputs=inputs, program=torch.export.export(module, (torch.zeros(1, 1, 4, 4),)))
    by_name = {fact.name: fact.holds for fact in FACTS if fact.holds is not None}
    assert not by_name["exported"](eager)
    assert by_name["exported"](exported)
    assert not by_name["batchnorm folded"](exported)
    assert not by_name["quantized"](exported)
    assert by_name["ranges calibrated"](exported.with_attachment("ranges", {"conv2d": [0.0, 1.0]}))
