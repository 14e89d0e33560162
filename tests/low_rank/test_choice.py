"""The rank that was asked for: the cheapest that keeps enough, the best that costs little enough."""

from __future__ import annotations

import torch
from edgewright.ir.factors import Factors, Method
from edgewright.low_rank.choice import Options, able, by_energy, by_rank, by_ratio, most_rank
from edgewright.low_rank.layers import Layer
from torch import nn
from torch.testing import assert_close

HALVES = torch.tensor([2.0 ** (-number / 2) for number in range(16)])
"""Singular values of which each has half the energy of the one before."""


def linear() -> Layer:
    module = nn.Linear(16, 16)
    module.weight.data = torch.diag(HALVES)
    return Layer("head", module, (1, 16), (1,), (1,))


def convolution() -> Layer:
    torch.manual_seed(0)
    return Layer("body", nn.Conv2d(16, 32, 3, padding=1), (1, 16, 8, 8), (8, 8), (8, 8))


def options(layer: Layer, method: Method, multiple: int = 1) -> Options:
    return Options(layer, method, multiple)


def test_energy_takes_the_smallest_rank_that_keeps_enough_in_the_multiple() -> None:
    """1 - 2^-r is kept by rank r, and 16 r + 16 r products are fewer than 256 below rank 8."""
    found = by_energy(options(linear(), "svd"), 0.9)
    assert found is not None
    assert (found.factors, found.macs) == (Factors("svd", (4,)), 4 * 32)
    total = float(HALVES.square().sum())
    assert_close(torch.tensor(found.energy), torch.tensor(float(HALVES[:4].square().sum()) / total))
    rounded = by_energy(options(linear(), "svd", 3), 0.9)
    assert rounded is not None
    assert rounded.factors.ranks == (6,)
    assert by_energy(options(linear(), "svd"), 0.999) is None


def test_where_no_multiple_saves_anything_any_rank_may_be_taken() -> None:
    assert [each.ranks for each in options(linear(), "svd", 8).found] == [(rank,) for rank in range(1, 8)]
    assert [each.ranks for each in options(linear(), "svd", 4).found] == [(4,)]


def test_ratio_keeps_as_much_as_that_many_products_can() -> None:
    found = by_ratio(options(linear(), "svd"), 0.5)
    assert found is not None
    assert (found.factors.ranks, found.macs) == ((4,), 128)
    tucker = options(convolution(), "tucker", 4)
    best = by_ratio(tucker, 0.5)
    assert best is not None
    assert best.macs <= 0.5 * tucker.whole_macs
    others = [tucker.option(each) for each in tucker.found if tucker.macs(each) <= 0.5 * tucker.whole_macs]
    assert best.energy == max(option.energy for option in others)
    assert all(rank % 4 == 0 for option in others for rank in option.factors.ranks)


def test_tuckers_cheapest_pair_is_taken() -> None:
    tucker = options(convolution(), "tucker")
    best = by_energy(tucker, 0.8)
    assert best is not None
    assert best.energy >= 0.8
    assert best.macs == min(tucker.macs(each) for each in tucker.found if tucker.energy(each) >= 0.8)
    assert able(tucker, 0.8, 3)[0].factors == best.factors


def test_a_rank_is_held_to_what_there_is() -> None:
    layer = convolution()
    tucker = by_rank(options(layer, "tucker"), 20)
    assert tucker is None or tucker.factors.ranks == (16, 20)
    narrow = by_rank(options(layer, "tucker"), 8)
    assert narrow is not None
    assert narrow.factors.ranks == (8, 8)
    assert by_rank(options(linear(), "svd"), 9) is None
    assert by_rank(options(linear(), "svd"), 20) is None
    assert (most_rank(linear()), most_rank(layer)) == (15, 31)


def test_cp_is_asked_for_as_few_ranks_as_need_be() -> None:
    layer = convolution()
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(size, 4, generator=generator) for size in (32, 16, 3, 3)]
    layer.module.get_parameter("weight").data = torch.einsum("or,ir,yr,xr->oiyx", *parts)
    cp = options(layer, "cp", 4)
    found = by_energy(cp, 0.99)
    assert found is not None
    assert found.factors.ranks == (4,)
    assert [option.factors.ranks for option in able(cp, 0.99, 2)] == [(4,), (8,)]
    cheap = by_ratio(cp, 0.9)
    assert cheap is not None
    assert cheap.macs <= 0.1 * cp.whole_macs


def test_many_ranks_are_looked_at_in_wider_steps() -> None:
    layer = Layer("wide", nn.Conv2d(256, 512, 3), (1, 256, 8, 8), (8, 8), (6, 6))
    ranks = {each.ranks[1] for each in options(layer, "tucker").found}
    assert ranks <= {*range(8, 512, 8), 512}
