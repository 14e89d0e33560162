"""Tucker-2: exact where the ranks are the tensor's, and never worse than the higher-order SVD that it begins with."""

from __future__ import annotations

import torch
from edgewright.low_rank.tucker import energies, split
from torch import Tensor
from torch.testing import assert_close

GENERATOR = torch.Generator().manual_seed(0)


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=GENERATOR, dtype=torch.float64)


def composed(parts: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    into, core, out = parts
    return torch.einsum("os,sryx,ri->oiyx", out, core, into)


def kept(weight: Tensor, ranks: tuple[int, int]) -> float:
    lost = (weight - composed(split(weight, ranks))).square().sum()
    return 1 - float(lost / weight.square().sum())


def test_a_tensor_of_these_ranks_comes_back() -> None:
    weight = torch.einsum("os,sryx,ri->oiyx", noise(8, 3), noise(3, 2, 3, 3), noise(2, 6))
    into, core, out = split(weight, (2, 3))
    assert (into.shape, core.shape, out.shape) == ((2, 6), (3, 2, 3, 3), (8, 3))
    assert_close(composed((into, core, out)), weight)
    table = energies(weight)
    assert table.shape == (6, 8)
    assert_close(table[1, 2], torch.tensor(1.0, dtype=torch.float64))
    assert table[0, 2] < 1 > table[1, 1]


def test_what_the_table_says_is_kept_and_turns_keep_more() -> None:
    weight = noise(8, 6, 3, 3)
    table = energies(weight)
    better = [kept(weight, (inner + 1, outer + 1)) - float(table[inner, outer]) for inner, outer in ((1, 2), (3, 3))]
    assert min(better) > 0


def test_of_two_entries_the_larger_one_stays() -> None:
    """3 at one pair of channels and 1 at another: rank one keeps 9 of 10."""
    weight = torch.zeros(4, 4, 1, 1)
    weight[0, 0], weight[2, 1] = 3.0, 1.0
    assert_close(energies(weight)[0, 0], torch.tensor(0.9, dtype=torch.float64))
    made = composed(split(weight, (1, 1)))
    assert_close(made[0, 0, 0, 0], torch.tensor(3.0, dtype=torch.float64))
    assert_close(made.square().sum(), torch.tensor(9.0, dtype=torch.float64))


def test_a_side_of_full_rank_is_left_as_it_is() -> None:
    weight = noise(4, 6, 3, 3)
    into, core, _ = split(weight, (6, 2))
    assert_close(into, torch.eye(6, dtype=torch.float64))
    left, values, _ = torch.linalg.svd(weight.flatten(1))
    assert_close(core.square().sum(), values[:2].square().sum())
    whole = split(weight, (6, 4))
    assert_close(whole[1], weight)
    assert left.shape == (4, 4)
