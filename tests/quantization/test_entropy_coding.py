"""Huffman's code, beside what was computed by hand and Shannon's bounds."""

from __future__ import annotations

import math

from edgewright.quantization.entropy_coding import code_lengths, coded_bytes
from hypothesis import given
from hypothesis import strategies as st

counts = st.lists(st.integers(0, 1000), min_size=1, max_size=40).filter(any)


def test_a_code_by_hand() -> None:
    """4, 2, 1 and 1: one bit, two, and three for the two that come together first."""
    assert code_lengths([2, 4, 1, 0, 1]) == [2, 1, 3, 0, 3]
    assert code_lengths([5]) == [1]
    assert coded_bytes([2, 4, 1, 1]) == 4 * 4 + 4 + 2  # values, lengths, 14 bits
    assert coded_bytes([2, 4, 1, 1], has_index=False) == 4 * 4


@given(counts)
def test_codes_can_be_told_apart_and_are_as_short_as_can_be(occurring: list[int]) -> None:
    """Kraft's sum is 1, and the mean length lies within a bit of the entropy (Cover and Thomas, theorem 5.4.1)."""
    lengths, total = code_lengths(occurring), sum(occurring)
    assert [length > 0 for length in lengths] == [count > 0 for count in occurring]
    used = [length for length in lengths if length]
    if len(used) > 1:
        assert sum(2.0**-length for length in used) == 1
    entropy = -sum(count / total * math.log2(count / total) for count in occurring if count)
    mean = sum(count * length for count, length in zip(occurring, lengths, strict=True)) / total
    assert entropy - 1e-9 <= mean <= entropy + 1  # the sum's own rounding
