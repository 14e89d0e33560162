from __future__ import annotations

from edgewright.channels.groups import ChannelGroup, Groups, Member, brief

PAIR = ChannelGroup(
    "block.a",
    ("block.a", "block.b"),
    (Member("block.a", "out", ((0, 1), (2, 3))), Member("block.b", "out", ((4,), (5,)))),
)


def test_units_and_width_are_those_of_the_first_layer() -> None:
    assert (PAIR.units, PAIR.width) == (2, 4)


def test_a_group_seen_from_within_a_module_has_the_names_of_that_module() -> None:
    assert [member.module for member in PAIR.within("block").members] == ["a", "b"]
    assert PAIR.within("") is PAIR


def test_groups_that_are_given_up_leave_all_their_layers_whole() -> None:
    rest = Groups((PAIR,), {"head": "an output"}).without({PAIR: "because"})
    assert rest == Groups((), {"head": "an output", "block.a": "because", "block.b": "because"})


def test_an_error_in_brief_is_its_type_and_first_line() -> None:
    assert brief(ValueError("one\ntwo")) == "ValueError: one"
