"""The structure of channels: which go together, what they cost, which matter least, and how they are taken out."""

from typing import Literal

Measure = Literal["flops", "parameters", "channels"]
"""What is counted while channels go."""
Scope = Literal["global", "per-layer"]
"""Whether channels are ranked over all layers, or each layer gives the same part."""
