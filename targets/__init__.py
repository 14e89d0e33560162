"""Device profiles: strict data, one YAML file per device."""

from .loading import HOST, builtin_names, load_target, matching, own_names, to_yaml
from .schema import (
    NAME_FORM,
    Delegate,
    Float16,
    Gpu,
    Hardware,
    Int8,
    Isa,
    Micro,
    Pruning,
    Quantization,
    StoredWeights,
    Target,
)

__all__ = [
    "HOST",
    "NAME_FORM",
    "Delegate",
    "Float16",
    "Gpu",
    "Hardware",
    "Int8",
    "Isa",
    "Micro",
    "Pruning",
    "Quantization",
    "StoredWeights",
    "Target",
    "builtin_names",
    "load_target",
    "matching",
    "own_names",
    "to_yaml",
]
