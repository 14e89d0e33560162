"""What the teachers say of each training sample, computed once and kept on the disk.

A sample is known by the hash of its inputs, so that one that is drawn anew (augmented) never gets another's answer.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .seeds import seed_everything

if TYPE_CHECKING:
    from torch import Tensor

    from ..ir.progress import Progress
    from ..recipe.datasets import Batch, Split

MOST_BYTES = 2**31
"""What is larger is not kept: the teachers are asked in every step then."""
_READ_TWICE, _AT_ONCE = 16, 64
_DIGEST_BYTES = 16
_TARGETS, _DIGESTS = "targets.npy", "digests.npy"
Ask = Callable[["Batch"], "Tensor"]
"""From a batch to the targets (N, ...) of its samples."""


@dataclass(frozen=True)
class KeptTargets:
    """Targets of samples by their places in the split; read from the disk as they are needed."""

    folder: Path

    def of(self, batch: Batch, samples: Sequence[int]) -> Tensor | None:
        """The targets (N, ...) of the batch; None where one of its samples is not the one that was kept."""
        import numpy
        import torch

        known = numpy.load(self.folder / _DIGESTS, mmap_mode="r")[list(samples)]
        if not numpy.array_equal(known, digests_of(batch)):
            return None
        kept = numpy.load(self.folder / _TARGETS, mmap_mode="r")
        return torch.from_numpy(kept[list(samples)]).to(batch.inputs[0].device)


def keep(split: Split, ask: Ask, folder: Path, progress: Progress, name: str) -> KeptTargets | str:
    """The targets of all samples of the split, in `folder`, which is whole or absent; or why none are kept."""
    if folder.is_dir():
        return KeptTargets(folder)
    if not is_steady(split):
        return "samples are drawn anew each time"
    first = ask(next(iter(split.batches(1))))
    if first.numel() * first.element_size() * len(split) > MOST_BYTES:
        return f"they would take more than {MOST_BYTES / 2**30:g} GiB"
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    _fill(split, ask, partial, progress, name, tuple(first.shape[1:]))
    partial.rename(folder)
    return KeptTargets(folder)


def is_steady(split: Split) -> bool:
    """Whether samples, spread over the split and read twice, stay as they are."""
    places = range(0, len(split), -(-len(split) // _READ_TWICE))
    chosen = split.subset(places)
    reads = []
    for seed in (0, 1):
        seed_everything(0, seed)
        reads.append([digests_of(batch).tobytes() for batch in chosen.batches(len(places))])
    return reads[0] == reads[1]


def digests_of(batch: Batch) -> Any:
    """(N, 16): a hash of each sample's inputs."""
    import numpy

    columns = [tensor.detach().cpu().contiguous().numpy() for tensor in batch.inputs]
    rows = []
    for place in range(len(columns[0])):
        digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        for column in columns:
            digest.update(column[place].tobytes())
        rows.append(numpy.frombuffer(digest.digest(), dtype=numpy.uint8))
    return numpy.stack(rows)


def _fill(split: Split, ask: Ask, folder: Path, progress: Progress, name: str, shape: tuple[int, ...]) -> None:
    import numpy

    seed_everything(0, 0)
    create = numpy.lib.format.open_memmap
    targets: Any = create(folder / _TARGETS, "w+", numpy.dtype("float32"), (len(split), *shape))
    digests: Any = create(folder / _DIGESTS, "w+", numpy.dtype("uint8"), (len(split), _DIGEST_BYTES))
    done = 0
    with progress.task(f"{name}: the teacher's outputs", len(split)) as advance:
        for batch in split.batches(_AT_ONCE):
            end = done + len(batch.labels)
            targets[done:end] = ask(batch).detach().cpu().numpy()
            digests[done:end] = digests_of(batch)
            advance(end - done, "")
            done = end
    targets.flush()
    digests.flush()
