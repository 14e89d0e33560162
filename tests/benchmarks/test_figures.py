from __future__ import annotations

import pytest
from edgewright.benchmarks.compare import Comparison
from edgewright.benchmarks.figures import milliseconds, percent, points, quantity, size, speed_up


@pytest.mark.parametrize(
    ("samples", "text"), [(10, "88 %"), (100, "88 %"), (797, "88.2 %"), (10_000, "88.23 %"), (10**6, "88.23 %")]
)
def test_a_share_has_no_more_decimals_than_one_sample_moves(samples: int, text: str) -> None:
    assert percent(0.88234, samples) == text


def test_three_digits_and_a_unit() -> None:
    assert milliseconds(344_123) == "0.344 ms"
    assert milliseconds(12_345_678) == "12.3 ms"
    assert milliseconds(1_234_567_890) == "1235 ms"
    assert [size(count) for count in (0, 812, 310_899, 70 << 20, 3 << 30)] == [
        *("0 B", "812 B", "304 KiB", "70.0 MiB", "3.00 GiB")
    ]
    assert [quantity(count) for count in (0, 12, 269_034, 40_551_040, 4.1e9)] == [
        "0",
        "12",
        "269 k",
        "40.6 M",
        "4.10 G",
    ]


@pytest.mark.parametrize(
    ("comparison", "text"),
    [
        (Comparison(0.5, 0.48, 0.52, "faster"), "2.00x faster (1.92 to 2.08)"),
        (Comparison(1.3, 1.25, 1.35, "slower"), "1.30x slower (1.25 to 1.35)"),
        (Comparison(1.0, 0.95, 1.05, "cannot tell"), "cannot tell (0.95 to 1.05)"),
    ],
)
def test_a_ratio_is_said_with_its_bounds(comparison: Comparison, text: str) -> None:
    assert speed_up(comparison) == text


def test_what_rounds_to_nothing_has_no_minus() -> None:
    assert points(-1e-6, 600) == "+0.0 points"
