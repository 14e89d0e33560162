"""Checkpoints of a training run: whole or absent, and never a pickle of code."""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

Weights = Mapping[str, "Tensor"]
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
    """The newest checkpoint of one run, in a folder that no other run uses."""

    folder: Path

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

    def load(self) -> tuple[Position, Weights, Weights, dict[str, Any]] | None:
        """What `save` was given last (position, weights, best weights, optimizer); None before the first."""
        import torch
        from safetensors.torch import load_file

        whole = self._whole()
        if not whole:
            return None
        stored = torch.load(whole[-1] / OPTIMIZER_FILE, map_location="cpu", weights_only=True)
        weights, best = load_file(whole[-1] / WEIGHTS_FILE), load_file(whole[-1] / BEST_FILE)
        return Position(**stored["position"]), weights, best, stored["optimizer"]

    def _whole(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"))
