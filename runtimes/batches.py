"""How many samples an artifact takes in one inference, by its files alone."""

from __future__ import annotations

import json
from pathlib import Path

from ..ir.errors import InputError, Problem
from .tensorrt_build import settings


def batch_range(runtime: str, folder: Path, batch: int | None) -> tuple[int, int | None]:
    """The fewest and the most samples; None where any number more is taken. `batch` is the network's own, None: open.

    An engine of TensorRT takes what engine.json says. InputError where that file is not as it was written.
    """
    if runtime != "tensorrt":
        return (1, None) if batch is None else (batch, batch)
    file = folder / settings.FILE
    try:
        shapes = json.loads(file.read_text())["shapes"].values()
        sizes = [(shape["min"][0], shape["max"][0]) for shape in shapes]
        return max(int(least) for least, _ in sizes), min(int(most) for _, most in sizes)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        expected = "the engine's shapes: min and max of each input"
        raise InputError(Problem(str(file), "shapes", expected, f"{type(error).__name__}: {error}")) from None
