"""`profile`: where the time of an artifact goes, operator by operator, as its runtime tells it."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from ..benchmarks.operators import OperatorReport, shares
from ..devices import registry
from ..runtimes import open_runner
from ..runtimes.layers import executed_names
from ..ship import manifest
from .publish import ports_of

if TYPE_CHECKING:
    from ..devices.contract import Device

RUNS = 300
"""How many inferences are profiled: onnxruntime notes whole microseconds, and many of them make a share exact."""
WARM_UP_SECONDS = 2.0


def profile(artifact: Path, device: Device, threads: int | None, runs: int = RUNS) -> OperatorReport:
    """What each operator of the artifact takes, once it runs steadily, and its part of all of them.

    InputError where the device is emulated; StepError where the runtime tells nothing of its operators.
    """
    registry.refuse_emulated(device, "profile")
    found = manifest.read(artifact)
    registry.refuse_foreign(device, found.runtime, artifact)
    file, count = artifact / found.main, threads or found.threads
    with open_runner(found.runtime, device, file, count, ports_of(found), {"profile": True}) as runner:
        runner.warm_up(WARM_UP_SECONDS)
        measured = runner.profile(runs)
        identity = runner.identity()
    names = executed_names(found.runtime, [each.name for each in measured.operators], file)
    operators = zip(names, measured.operators, strict=True)
    return OperatorReport(
        artifact=str(artifact),
        device=f"{device.name} ({identity['cpu']})",
        runtime=f"{identity['runtime']} {identity['runtime_version']}",
        threads=count,
        runs=runs,
        inference_median_ns=median(measured.samples_ns),
        operators=shares([(name, each.operator, each.samples_ns) for name, each in operators]),
    )
