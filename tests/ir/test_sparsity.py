"""Two in four: which weights stay, what counts as sparse, and where a model's sparse weights are found."""

from __future__ import annotations

import pytest
import torch
from edgewright.ir.sparsity import ATTACHMENT, is_sparse, is_two_in_four, sparse_weights, two_in_four
from edgewright.ir.state import InputSpec, ModelState
from torch import nn


def test_the_two_largest_of_each_four_inputs_stay() -> None:
    weight = torch.tensor([[1.0, -4.0, 3.0, 2.0, 0.1, 0.2, -0.3, 0.0]])
    kept = two_in_four(weight)
    assert kept.tolist() == [[False, True, True, False, False, True, True, False]]


def test_each_position_of_a_kernel_is_judged_by_itself() -> None:
    weight = torch.randn(6, 8, 3, 2, generator=torch.Generator().manual_seed(0))
    kept = two_in_four(weight)
    assert kept.shape == weight.shape
    assert (kept.reshape(6, 2, 4, 3, 2).sum(2) == 2).all()
    for output, row, column in ((0, 0, 0), (3, 2, 1), (5, 1, 0)):
        four = weight[output, 4:, row, column].abs()
        assert four[kept[output, 4:, row, column]].min() > four[~kept[output, 4:, row, column]].max()
    assert is_two_in_four(weight * kept)
    assert not is_two_in_four(weight)


def test_one_value_too_many_is_seen_and_equal_values_are_not_kept_twice() -> None:
    weight = torch.ones(4, 8, 3)
    sparse = weight * two_in_four(weight)
    assert is_two_in_four(sparse)
    sparse[2, 4:8, 1] = torch.tensor([1.0, 0.0, 1.0, 1.0])
    assert not is_two_in_four(sparse)


def test_weights_whose_inputs_are_no_multiple_of_four_are_not_sparse() -> None:
    assert not is_two_in_four(torch.zeros(4, 6))


@pytest.mark.parametrize("exported", [False, True])
def test_the_weights_of_the_named_modules_are_found_at_both_stages(exported: bool) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)).eval()
    with torch.no_grad():
        module[2].weight.mul_(two_in_four(module[2].weight))  # type: ignore[operator,arg-type]
    inputs = (InputSpec("x", (1, 4, 8, 8)),)
    if exported:
        state = ModelState(inputs, program=torch.export.export(module, (torch.zeros(1, 4, 8, 8),)))
    else:
        state = ModelState(inputs, module)
    assert sparse_weights(state) == {}
    assert not is_sparse(state)
    named = state.with_attachment(ATTACHMENT, ["2"])
    assert list(sparse_weights(named)) == ["2.weight"]
    assert is_sparse(named)
    assert not is_sparse(state.with_attachment(ATTACHMENT, ["0", "2"]))
