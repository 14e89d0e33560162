"""Channels that can only go together: groups of them, and what each layer loses when a part of a group goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

Side = Literal["out", "in", "parameter"]


@dataclass(frozen=True)
class Member:
    """One side of a module (or one bare parameter, by its full name) and what goes there with each unit."""

    module: str
    side: Side
    positions: tuple[tuple[int, ...], ...]
    axis: int = 0
    """The axis of a bare parameter."""


@dataclass(frozen=True, eq=False)
class ChannelGroup:
    """Channels of several layers that are tied. Unit u is the smallest part that can go: `positions[u]` everywhere.

    `name` is the layer whose output channels are the first member.
    """

    name: str
    layers: tuple[str, ...]
    """The convolutions and linear layers that give these channels."""
    members: tuple[Member, ...]

    @cached_property
    def units(self) -> int:
        """How many units there are."""
        return len(self.members[0].positions)

    @cached_property
    def width(self) -> int:
        """How many channels the first layer gives."""
        return sum(map(len, self.members[0].positions))

    def within(self, scope: str) -> ChannelGroup:
        """The same group with names as seen from the module `scope`, which holds all of it."""
        members = tuple(replace(member, module=member.module.removeprefix(f"{scope}.")) for member in self.members)
        return replace(self, members=members) if scope else self


@dataclass(frozen=True)
class Groups:
    """What can be pruned, and for each layer that can't, why."""

    found: tuple[ChannelGroup, ...]
    whole: Mapping[str, str]

    def without(self, reasons: Mapping[ChannelGroup, str]) -> Groups:
        """The groups but these, whose layers are left whole for these reasons."""
        whole = {layer: why for group, why in reasons.items() for layer in group.layers}
        found = tuple(group for group in self.found if group not in reasons)
        return Groups(found, {**self.whole, **whole})


def brief(error: Exception) -> str:
    """The error's type and the first line of its message."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]
