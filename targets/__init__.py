"""Device profiles: strict data, one YAML file per device."""

from .schema import (
    HOST,
    NAME_FORM,
    Hardware,
    Int8,
    Isa,
    Pruning,
    Quantization,
    Target,
    builtin_names,
    load_target,
    matching,
    own_names,
    to_yaml,
)

__all__ = [
    "HOST",
    "NAME_FORM",
    "Hardware",
    "Int8",
    "Isa",
    "Pruning",
    "Quantization",
    "Target",
    "builtin_names",
    "load_target",
    "matching",
    "own_names",
    "to_yaml",
]
