"""The rules that an ONNX model is held against, by the target's runtime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from . import tensorrt_rules, x86_rules

if TYPE_CHECKING:
    from ...targets.schema import Target
    from .tensorrt_rules import Finding


def lint(path: Path, target: Target) -> tuple[Finding, ...]:
    """What the target's runtime would refuse, compute wrongly or run in float of the ONNX model; worst first.

    InputError where the target's runtime has no rules or the file holds no ONNX model.
    """
    if target.runtime == "onnxruntime":
        return x86_rules.lint(path, target)
    return tensorrt_rules.lint(path, target)
