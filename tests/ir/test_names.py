from __future__ import annotations

import pytest
from edgewright.ir.errors import InputError
from edgewright.ir.names import is_within, refuse_unknown
from torch import nn


def test_every_unknown_name_is_said_with_the_nearest() -> None:
    module = nn.ModuleDict({"stem": nn.Linear(1, 1), "block": nn.Sequential(nn.Linear(1, 1))})
    refuse_unknown(["stem", "block.0"], module, "compress.prune.keep")
    with pytest.raises(InputError) as caught:
        refuse_unknown(["stme", "block.0", "nowhere"], module, "compress.prune.keep")
    first, second = map(str, caught.value.problems)
    assert first == (
        "recipe: compress.prune.keep: expected names of modules of the network; did you mean stem?, got stme"
    )
    assert second == "recipe: compress.prune.keep: expected names of modules of the network, got nowhere"


def test_a_module_lies_in_those_that_its_name_begins_with() -> None:
    assert is_within("layer1.0", ["layer1"])
    assert is_within("layer1", ["layer1"])
    assert not is_within("layer10", ["layer1"])
    assert not is_within("layer1", [])
