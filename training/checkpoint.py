"""Checkpoints of a training run: whole or absent, and never a pickle of code."""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

Weights = Mapping[str, "Tensor"]
Stored = tuple["Position", Weights, Weights, dict[str, Any]]
"""A position, the weights there, the best weights so far, and the state of what learns beside them."""
WEIGHTS_FILE, BEST_FILE, OPTIMIZER_FILE = "weights.safetensors", "best.safetensors", "optimizer.pt"


@dataclass
class Position:
    """Where a run stands between two segments; plain values."""

    loss_before: float
    best_loss: float
    best_step: int = 0
    step: int = 0
    epochs_without_gain: int = 0
    stopped_early: bool = False
    seconds: float = 0.0
    out_of_time: bool = False


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """A copy of the module's parameters and buffers, on the CPU."""
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in module.state_dict().items()}


def hash_of(module: nn.Module) -> str:
    """A hash of the module's parameters and buffers, names and bytes."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(weights_of(module).items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Checkpoints:
    """The newest checkpoint of one run, in a folder that no other run uses. `warn` hears of those that are damaged."""

    folder: Path
    warn: Callable[[str], None]

    def save(self, position: Position, weights: Weights, best: Weights, optimizer: Mapping[str, Any]) -> None:
        """The checkpoint is in the folder, whole, in place of the one before; a kill leaves one of the two."""
        import torch
        from safetensors.torch import save as to_bytes

        partial = self.folder / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        (partial / WEIGHTS_FILE).write_bytes(to_bytes(dict(weights)))
        (partial / BEST_FILE).write_bytes(to_bytes(dict(best)))
        archive = io.BytesIO()  # written at once, so that a full disk is an OSError and not one of torch's own
        torch.save({"position": asdict(position), "optimizer": optimizer}, archive)
        (partial / OPTIMIZER_FILE).write_bytes(archive.getbuffer())
        older = self._whole()
        partial.rename(self.folder / f"step-{position.step:09d}")
        for path in older:
            shutil.rmtree(path)

    def load(self) -> Stored | None:
        """What `save` was given last; None before the first. One that can't be read is deleted, and that is said."""
        for path in reversed(self._whole()):
            try:
                return _read(path)
            except (OSError, RuntimeError, ValueError, LookupError, EOFError, UnpicklingError, TypeError) as error:
                self.warn(f"training: the checkpoint {path.name} is damaged and was deleted ({type(error).__name__})")
                shutil.rmtree(path)
        return None

    def _whole(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"))


def _read(folder: Path) -> Stored:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights, best = load_file(folder / WEIGHTS_FILE), load_file(folder / BEST_FILE)
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    stored = torch.load(folder / OPTIMIZER_FILE, map_location="cpu", weights_only=True)
    return Position(**stored["position"]), weights, best, stored["optimizer"]
