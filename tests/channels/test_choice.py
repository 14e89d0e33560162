from __future__ import annotations

from types import ModuleType

import pytest
import torch
from edgewright.channels.choice import CLEARLY, Shrinking, choose_evenly, choose_globally, shrinkable
from edgewright.channels.costs import Costs, costs_of
from edgewright.channels.groups import ChannelGroup, Member
from edgewright.channels.walk import find_groups
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

IMAGE = (torch.zeros(1, 3, 16, 16),)


def group(name: str, width: int, unit: int = 1) -> ChannelGroup:
    positions = tuple(tuple(range(start, start + unit)) for start in range(0, width, unit))
    return ChannelGroup(name, (name,), (Member(name, "out", positions),))


def costs(*groups: ChannelGroup) -> Costs:
    return costs_of(nn.Identity(), IMAGE, groups, "channels")


def left(chosen: list[Shrinking]) -> list[int]:
    return [shrinking.group.units - shrinking.gone for shrinking in chosen]


def ready(
    *groups: ChannelGroup, multiple: int = 1, importance: dict[str, list[float]] | None = None
) -> list[Shrinking]:
    given = {entry: (importance or {}).get(entry.name, [1.0] * entry.units) for entry in groups}
    return shrinkable(groups, given, multiple, {entry.name: entry.width for entry in groups})[0]


def test_the_least_important_units_go_first() -> None:
    only = group("a", 8)
    chosen = ready(only, importance={"a": [5, 1, 4, 2, 8, 7, 3, 6]})
    choose_globally(chosen, costs(only), 5)
    assert chosen[0].order[: chosen[0].gone] == [1, 3, 6]


def test_a_group_whose_channels_differ_more_gives_more() -> None:
    flat, steep = group("flat", 16), group("steep", 16)
    chosen = ready(flat, steep, importance={"steep": [0.01] * 10 + [10.0] * 6})
    choose_globally(chosen, costs(flat, steep), 20)
    flat_left, steep_left = left(chosen)
    assert flat_left + steep_left == 20
    assert steep_left < flat_left


@given(
    st.lists(st.integers(2, 70), min_size=1, max_size=5),
    st.sampled_from([1, 4, 8]),
    st.floats(0.05, 0.95),
    st.sampled_from([choose_globally, choose_evenly]),
)
def test_widths_stay_multiples_above_the_floor(widths: list[int], multiple: int, part: float, choose: object) -> None:
    groups = [group(f"g{index}", width) for index, width in enumerate(widths)]
    chosen = ready(*groups, multiple=multiple)
    before = costs(*groups)
    choose(chosen, before, before.total * (1 - part))  # type: ignore[operator]
    for shrinking in chosen:
        rest = shrinking.group.width - shrinking.gone
        assert shrinking.gone == 0 or rest % multiple == 0
        assert rest * 8 >= shrinking.group.width
        assert rest >= multiple or shrinking.gone == 0


@given(st.lists(st.integers(8, 70), min_size=1, max_size=5), st.floats(0.05, 0.8))
def test_the_goal_is_met_to_one_step(widths: list[int], part: float) -> None:
    groups = [group(f"g{index}", width) for index, width in enumerate(widths)]
    before = costs(*groups)
    goal = before.total * (1 - part)
    choose_globally(ready(*groups), before, goal)
    assert -0.5 <= before.total - goal <= 1 / (1 + CLEARLY)


def test_channels_stay_where_a_last_step_ends_hardly_nearer() -> None:
    only = group("a", 32)
    kept, taken = ready(only, multiple=8), ready(only, multiple=8)
    choose_globally(kept, costs(only), 19.9)
    choose_globally(taken, costs(only), 18.9)
    assert (left(kept), left(taken)) == ([24], [16])


def test_units_of_several_channels_are_counted_in_channels() -> None:
    wide = group("a", 64, unit=4)
    chosen = ready(wide, multiple=16)
    choose_globally(chosen, costs(wide), 40)
    assert left(chosen)[0] * 4 in (32, 48)


@pytest.mark.parametrize(("width", "multiple"), [(8, 8), (6, 8), (1, 1)])
def test_groups_too_narrow_to_shrink_are_named(width: int, multiple: int) -> None:
    only = group("a", width)
    able, whole = shrinkable([only], {only: [1.0] * width}, multiple, {"a": width})
    assert able == []
    assert "too few" in whole["a"]


def test_groups_with_uneven_parts_are_named() -> None:
    uneven = ChannelGroup("a", ("a",), (Member("a", "out", ((0,), (1, 2))),))
    assert "different sizes" in shrinkable([uneven], {uneven: [1, 1]}, 1, {"a": 3})[1]["a"]


def test_even_choice_takes_the_same_part_of_every_group(networks: ModuleType) -> None:
    module = networks.random(networks.Perceptron)
    groups = find_groups(module, IMAGE).found
    chosen = ready(*groups)
    choose_evenly(chosen, costs(*groups), 24)
    assert left(chosen) == [16, 8]


def test_where_no_channel_stands_out_no_group_gives_twice_as_much_as_another(networks: ModuleType) -> None:
    module = networks.random(networks.Plain)
    groups = find_groups(module, IMAGE).found
    chosen, before = ready(*groups), costs_of(module, IMAGE, groups, "flops")
    choose_globally(chosen, before, before.total / 2)
    parts = [shrinking.gone / shrinking.group.units for shrinking in chosen]
    assert 0 < max(parts) < 2 * min(parts)
