"""How long a state of the model takes on a device, for passes that decide by it (`Context.measure`)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..benchmarks import latency
from ..devices import machine
from ..ir.facts import BATCHNORM_FOLDED, EXPORTED
from ..passes import manager
from ..passes.contract import Context, Measure
from ..passes.export import Export
from ..passes.fold_batchnorm import FoldBatchnorm
from ..runtimes import emitter, open_runner

if TYPE_CHECKING:
    from ..devices.contract import Device
    from ..ir.state import ModelState
    from ..targets import Target

_ROUNDS, _RUNS = 20, 20
"""Few, because a pass asks often: it tells apart what differs by some percent, and builds measure again at the end."""


def place_of(device: Device) -> list[Any]:
    """What times on the device depend on besides artifact and runtime: keys of measurements have it."""
    here = machine.this_machine()
    return [device.name, here.architecture, sorted(here.flags), here.hardware.model_dump(mode="json")]


def measure_for(target: Target, device: Device | None, threads: int) -> Measure | None:
    """As `measure_on`; None where nothing that is measured here is the target's own."""
    if device is None or device.is_emulated or emitter(target.runtime).reference() is not None:
        return None
    is_other = machine.mismatches(target, machine.this_machine())
    return None if is_other else measure_on(target, device, threads)


def measure_on(target: Target, device: Device, threads: int) -> Measure:
    """What gives the median latency in nanoseconds of a state's artifact in the target's runtime on the device.

    A torch module is exported first and its batch norms folded; it computes in float32. The state is left as it is.
    """

    def measure(state: ModelState) -> float:
        with tempfile.TemporaryDirectory() as folder:
            emitted = emitter(target.runtime).emit(_exported(state, Path(folder)), target, Path(folder))
            file = Path(folder) / emitted.main
            with open_runner(target.runtime, device, file, threads, emitted.ports) as runner:
                reports = latency.measure({"state": runner}, device.name, _ROUNDS, _RUNS)
        return float(reports["state"].p50_ns)

    return measure


def _exported(state: ModelState, scratch: Path) -> ModelState:
    """The state as a graph without batch norms, whichever stage it is in."""
    data: Any = None  # neither of the two reads any
    context = Context(data, "classification", 0, scratch, lambda message: None)
    for step, fact in ((Export(), EXPORTED), (FoldBatchnorm(), BATCHNORM_FOLDED)):
        if fact not in state.facts:
            state = manager.run(step, state, context)
    return state
