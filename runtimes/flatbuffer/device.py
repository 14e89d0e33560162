"""What a target says of a finished TFLite file: a microcontroller's limits, an accelerator's gaps."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from ...ir.errors import StepError
from ..contract import Limit

if TYPE_CHECKING:
    from ...targets.schema import Target

BYTES_PER_KIB = 1024


def limits(file: Path, target: Target) -> tuple[Limit, ...]:
    """The microcontroller's limits and what the file takes of each; empty for other targets.

    StepError where its interpreter lacks an operator of the file.
    """
    from .micro import arena_bytes, check, flash_bytes

    micro = target.micro
    if micro is None:
        return ()
    if refused := check(file, micro.operators):
        raise StepError(f"tflite: {target.name} can't run the file: {'; '.join(refused)}")
    return (
        Limit("micro.arena_kib", micro.arena_kib, arena_bytes(file) / BYTES_PER_KIB),
        Limit("micro.flash_kib", micro.flash_kib, flash_bytes(file) / BYTES_PER_KIB),
    )


def remarks(file: Path, target: Target) -> tuple[str, ...]:
    """For each of the target's delegates, which operators it leaves to the CPU, and whether it is an int8 one."""
    from .file import read
    from .graph import operators

    kinds = Counter(operator.name for operator in operators(read(file)))
    said = []
    for name, delegate in target.delegates.items():
        left = [f"{count} {kind}" for kind, count in sorted(kinds.items()) if kind not in delegate.operators]
        where = f"leaves to the CPU: {', '.join(left)}" if left else "takes every operator"
        number = "" if delegate.int8 else "; it computes int8 files in float"
        said.append(f"delegate {name} (not run here, by its documentation) {where}{number}")
    return tuple(said)
