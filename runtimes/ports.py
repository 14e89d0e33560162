"""Values on their way into an artifact and out of it: from the network's floats to what the file takes, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .contract import Port

if TYPE_CHECKING:
    import numpy as np


def into(values: np.ndarray, port: Port) -> np.ndarray:
    """The network's input (N, ...) as the artifact takes it; integers are rounded half to even and kept in range."""
    import numpy as np

    if port.channels_last:
        values = np.ascontiguousarray(values.transpose(0, 2, 3, 1))
    if port.scale is None:
        return values.astype(port.dtype, copy=False)
    limits = np.iinfo(port.dtype)
    steps = np.rint(values * (np.float32(1) / np.float32(port.scale))) + port.zero_point
    quantized: np.ndarray = np.clip(steps, limits.min, limits.max).astype(port.dtype)
    return quantized


def out_of(values: np.ndarray, port: Port) -> np.ndarray:
    """The artifact's output (N, ...) as the network would give it."""
    import numpy as np

    if port.scale is not None:
        values = (values.astype(np.float32) - port.zero_point) * np.float32(port.scale)
    return values.transpose(0, 3, 1, 2) if port.channels_last else values
