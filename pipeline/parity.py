"""Proof that an artifact computes what was simulated: both run on the same samples, and differ by so many steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..benchmarks import accuracy
from ..benchmarks.accuracy import Parity
from ..ir.errors import StepError
from ..ir.graph import has_open_batch
from ..runtimes import open_runner
from .keys import digest, own_source, runtime_version

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from ..devices.contract import Device
    from ..ir.state import ModelState
    from .workshop import Made, Workshop

SAMPLES, GOLDEN_SAMPLES = 256, 8
AGREEMENT = 0.99
"""The share of samples on which artifact and simulated model must have the same largest output. They may differ where
two outputs are nearly equal: kernels add in another order, and a sum next to a half rounds to the other side."""


@dataclass(frozen=True)
class Golden:
    """A few inputs and what the artifact answered to them in its runtime; `steps` are one step of each output."""

    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    steps: dict[str, float]

    def write(self, folder: Path) -> None:
        """`folder` holds inputs.npz, outputs.npz and steps.json."""
        import numpy as np

        folder.mkdir(exist_ok=True)
        np.savez(folder / "inputs.npz", **self.inputs)  # type: ignore[arg-type]
        np.savez(folder / "outputs.npz", **self.outputs)  # type: ignore[arg-type]
        (folder / "steps.json").write_text(json.dumps(self.steps))

    @classmethod
    def read(cls, folder: Path) -> Golden:
        """The vectors that `write` wrote; no pickle is loaded."""
        steps = json.loads((folder / "steps.json").read_text())
        return cls(_arrays(folder / "inputs.npz"), _arrays(folder / "outputs.npz"), steps)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    import numpy as np

    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


def prove(workshop: Workshop, made: Made, device: Device) -> tuple[Parity, Path, bool]:
    """The parity of artifact and simulated model, the folder of golden vectors, and whether both were known before.

    StepError where they agree on less than `AGREEMENT` of the samples.
    """
    version = runtime_version(made.runtime)
    key = digest("parity", made.key, workshop.data_print("evaluation"), version, device.name, own_source())
    with workshop.store.lock(key):
        folder = workshop.store.find("results", key)
        is_known = folder is not None
        if folder is None:
            workshop.progress.note("verify: artifact against simulated model")
            folder = workshop.store.put("results", key, lambda out: _write(out, workshop, made, device))
    parity = Parity(**json.loads((folder / "parity.json").read_text()))
    if parity.argmax_agreement is not None and parity.argmax_agreement < AGREEMENT:
        raise StepError(
            f"verify: the artifact in {made.runtime} and the simulated model agree on {parity.argmax_agreement:.1%} of"
            f" {SAMPLES} samples, expected {AGREEMENT:.0%}; the largest difference is {parity.largest_steps:.1f} steps"
        )
    return parity, folder / "golden", is_known


def _write(out: Path, workshop: Workshop, made: Made, device: Device) -> None:
    import numpy as np

    state, _ = workshop.state(made.plan)
    batches = _whole_batches(workshop, state)
    simulated = _simulate(state.callable_module(), batches)
    names = [spec.name for spec in workshop.inputs]
    arrays = {name: np.concatenate([batch[at].numpy() for batch in batches]) for at, name in enumerate(names)}
    with open_runner(made.runtime, device, made.main, threads=1) as runner:
        outputs = dict(zip(runner.outputs, runner.run(arrays), strict=True))
    steps = made.output_steps or [_float_step(values) for values in simulated]
    found = [accuracy.parity(*each) for each in zip(simulated, outputs.values(), steps, strict=True)]
    worst: dict[str, Any] = asdict(max(found, key=lambda parity: parity.largest_steps))
    (out / "parity.json").write_text(json.dumps(worst))
    first = {name: values[:GOLDEN_SAMPLES] for name, values in arrays.items()}
    answers = {name: values[:GOLDEN_SAMPLES] for name, values in outputs.items()}
    Golden(first, answers, dict(zip(outputs, map(float, steps), strict=True))).write(out / "golden")


def _whole_batches(workshop: Workshop, state: ModelState) -> list[tuple[Tensor, ...]]:
    """Inputs of about `SAMPLES` evaluation samples, in batches that the state's graph takes."""
    is_open = has_open_batch(state.exported_program())
    size = 32 if is_open else (workshop.inputs[0].batch or 1)
    batches = [batch.inputs for batch in workshop.data.split("evaluation").batches(size, limit=SAMPLES)]
    return [inputs for inputs in batches if is_open or len(inputs[0]) == size]


def _simulate(module: nn.Module, batches: Sequence[tuple[Tensor, ...]]) -> list[np.ndarray]:
    """Each output (N, ...) of the simulated model."""
    import numpy as np
    import torch
    from torch.utils._pytree import tree_leaves

    with torch.no_grad():
        parts = [tree_leaves(module(*inputs)) for inputs in batches]
    return [np.concatenate([part.numpy() for part in values]) for values in zip(*parts, strict=True)]


def _float_step(values: np.ndarray) -> float:
    """What one step would be, were the output of a float artifact held in 8 bits."""
    return float(abs(values).max()) / 255 or 1.0
