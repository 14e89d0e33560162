"""The text form of passes round-trips, and what is not one is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
from edgewright.ir.errors import InputError
from edgewright.passes import ALL
from edgewright.passes.text import from_text, to_text
from hypothesis import given
from hypothesis import strategies as st


@dataclass(frozen=True)
class Inner:
    low: float = 0.0
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sample:
    name: ClassVar[str] = "sample"
    text: str = "word"
    number: float = 0.5
    count: int = 3
    maybe: float | None = None
    flag: bool = False
    names: tuple[str, ...] = ()
    inner: Inner = Inner()


def test_looks_as_the_documentation_shows_it() -> None:
    assert to_text(Sample(names=("a.b", "two words"))) == (
        'sample{text=word number=0.5 count=3 maybe=none flag=false names=[a.b "two words"] inner={low=0.0 words=[]}}'
    )


_STRINGS = st.text(max_size=12)


@given(
    st.builds(
        Sample,
        text=_STRINGS,
        number=st.floats(allow_nan=False, allow_infinity=False),
        count=st.integers(),
        maybe=st.none() | st.floats(allow_nan=False, allow_infinity=False),
        flag=st.booleans(),
        names=st.lists(_STRINGS, max_size=3).map(tuple),
        inner=st.builds(Inner, low=st.floats(-1, 1), words=st.lists(_STRINGS, max_size=2).map(tuple)),
    )
)
def test_round_trips(step: Sample) -> None:
    assert from_text(to_text(step), (Sample,)) == step


@pytest.mark.parametrize(
    "text", ["other{}", "sample", "sample{wrong=1}", "sample{text=}", "sample{text=a", "sample{}}"]
)
def test_refuses_what_is_not_a_pass(text: str) -> None:
    with pytest.raises(InputError, match="pass text"):
        from_text(text, (Sample,))


def test_names_of_passes_are_unique() -> None:
    assert len({kind.name for kind in ALL}) == len(ALL)
