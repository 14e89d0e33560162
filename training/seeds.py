"""Every random draw of a run is decided by the run's seed and a step: nothing that a generator did before counts."""

from __future__ import annotations

import hashlib


def seed_everything(seed: int, step: int, rank: int = 0) -> None:
    """Every global generator stands where a segment that begins at `step` wants it, in the process of that rank."""
    from accelerate.utils.random import set_seed

    set_seed(mix(seed, step) if rank == 0 else mix(mix(seed, step), rank))


def mix(seed: int, number: int) -> int:
    """A seed of 32 bits that both numbers decide."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:4], "big")
