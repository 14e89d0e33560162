"""Values on their way into an artifact and out of it."""

from __future__ import annotations

import numpy as np
import pytest
from edgewright.runtimes.contract import Port
from edgewright.runtimes.ports import into, out_of

IMAGE = np.random.default_rng(0).uniform(-1, 1, (2, 3, 4, 5)).astype(np.float32)


def test_an_integer_input_is_on_its_grid_with_channels_last() -> None:
    port = Port("image", "int8", scale=1 / 128, zero_point=0, channels_last=True)
    given = into(IMAGE, port)
    assert (given.shape, given.dtype) == ((2, 4, 5, 3), np.dtype("int8"))
    assert np.abs(out_of(given, port) - IMAGE).max() <= port.scale / 2  # type: ignore[operator]


def test_what_lies_beyond_the_grid_is_its_end() -> None:
    port = Port("x", "int8", scale=0.01, zero_point=-28)
    assert into(np.array([[-9.0, 9.0]], np.float32), port).tolist() == [[-128, 127]]


def test_halves_go_to_the_even_step_as_in_torch() -> None:
    port = Port("x", "int8", scale=0.5)
    assert into(np.array([[0.25, 0.75, -0.25]], np.float32), port).tolist() == [[0, 2, 0]]


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_without_a_scale_only_type_and_layout_change(dtype: str) -> None:
    values = np.arange(6).reshape(2, 3)
    given = into(values, Port("tokens", dtype))
    assert given.dtype == np.dtype(dtype)
    assert np.array_equal(given, values)
    image = out_of(
        into(IMAGE, Port("image", "float32", channels_last=True)), Port("out", "float32", channels_last=True)
    )
    assert np.array_equal(image, IMAGE)
