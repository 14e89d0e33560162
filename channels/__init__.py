"""The structure of channels: which go together, what they cost, which matter least, and how they are taken out."""

from typing import Literal

Measure = Literal["flops", "parameters", "channels"]
"""What is counted while channels go."""
Criterion = Literal["l1", "l2", "batchnorm", "taylor", "random", "geometric-median", "entropy", "slimming", "group-l2"]
"""What says how much a channel matters; the last two are learned by training with a penalty first."""
LEARNED = ("slimming", "group-l2")
Scope = Literal["global", "per-layer"]
"""Whether channels are ranked over all layers, or each layer gives the same part."""
