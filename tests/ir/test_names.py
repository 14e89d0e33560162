from __future__ import annotations

import pytest
from edgewright.ir.errors import InputError
from edgewright.ir.names import is_within, refuse_unknown, refuse_unknown_names
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


def test_a_name_in_which_known_modules_lie_is_known() -> None:
    refuse_unknown_names(["block", "stem.0"], {"block.0.conv", "stem.0"}, "key")
    with pytest.raises(InputError, match=r"recipe: key: expected names of modules of the network.*, got blo$"):
        refuse_unknown_names(["blo"], {"block.0.conv"}, "key")


def test_a_module_lies_in_those_that_its_name_begins_with() -> None:
    assert is_within("layer1.0", ["layer1"])
    assert is_within("layer1", ["layer1"])
    assert not is_within("layer10", ["layer1"])
    assert not is_within("layer1", [])
