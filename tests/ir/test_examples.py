from __future__ import annotations

import torch
from edgewright.ir.examples import example_inputs
from edgewright.ir.state import InputSpec


def test_shapes_and_types_are_those_of_the_inputs_and_an_open_batch_is_two() -> None:
    image, words = example_inputs((InputSpec("image", (None, 3, 4)), InputSpec("words", (5, 7), "int64")))
    assert (image.shape, image.dtype) == ((2, 3, 4), torch.float32)
    assert (words.shape, words.dtype) == ((5, 7), torch.int64)
    assert set(words.unique().tolist()) == {0, 1}


def test_they_are_the_same_every_time() -> None:
    spec = (InputSpec("image", (1, 3)),)
    assert torch.equal(example_inputs(spec)[0], example_inputs(spec)[0])
