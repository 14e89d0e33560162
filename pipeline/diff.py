"""`diff`: an artifact beside its float baseline, layer by layer, on the artifact's golden inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ..benchmarks.accuracy import parity
from ..benchmarks.fidelity import Diff, LayerDifference, Noise, added
from ..devices import registry
from ..ir.errors import InputError, Problem, StepError
from ..runtimes import emitter, open_runner
from ..runtimes.layers import INPUT, counterparts, last_resort, layers, readable
from ..ship import manifest
from ..ship.manifest import Manifest
from .parity import Golden
from .publish import BASELINE_FOLDER, GOLDEN_FOLDER, ports_of
from .simulated import Steps, off_by

if TYPE_CHECKING:
    import numpy as np

    from ..devices.contract import Device
    from ..runtimes.contract import Layer, Reference, Runner


@dataclass(frozen=True)
class _Opened:
    """An artifact whose layers are known, of which the runner keeps `wanted`."""

    folder: Path
    found: Manifest
    layers: tuple[Layer, ...]

    def open(self, device: Device, wanted: Sequence[Layer], reference: Reference | None, stack: ExitStack) -> Runner:
        """The artifact, loaded so that it keeps the values of these layers; its ends it hands out anyway."""
        ends = {entry.name for entry in (*self.found.inputs, *self.found.outputs)}
        inner = list({layer.tensor: layer for layer in wanted if layer.tensor not in ends}.values())
        runtime = self.found.runtime if reference is None else reference.runtime
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="edgewright-diff-")))
        file, options = readable(runtime, self.folder / self.found.main, inner, folder)
        more = {} if reference is None else reference.options
        return stack.enter_context(open_runner(runtime, device, file, 1, ports_of(self.found), {**options, **more}))


def diff(artifact: Path, against: Path | None, device: Device, samples: int | None = None) -> Diff:
    """Each layer of the artifact beside that of the other, its own baseline by default, on its first golden inputs.

    InputError where there are no golden vectors, or where the other is of another runtime or takes other inputs.
    """
    mine, theirs = _opened(artifact), _opened(_other(artifact, against))
    _check_alike(mine, theirs)
    registry.refuse_foreign(device, mine.found.runtime, artifact)
    reference = emitter(mine.found.runtime).reference()
    resort = None if reference is not None else last_resort(mine.found.runtime)
    try:
        return _diff(mine, theirs, device, samples, reference)
    except StepError as error:
        if resort is None:
            raise
        told = f"the engine hands out no values between its layers: {error}"
        found = _diff(mine, theirs, device, samples, resort)
        return replace(found, remarks=(told, *found.remarks))


def _diff(mine: _Opened, theirs: _Opened, device: Device, samples: int | None, reference: Reference | None) -> Diff:
    """The same, by the reference if there is one, otherwise by the artifacts' own runtime."""
    artifact = mine.folder
    matched = counterparts(mine.layers, theirs.layers)
    golden = Golden.read(artifact / GOLDEN_FOLDER)
    batches = _batches(golden.inputs, mine.found.inputs[0].shape, samples)
    pairs = [(layer, matched[layer.tensor]) for layer in mine.layers if layer.tensor in matched]
    with ExitStack() as stack:
        runners = [
            mine.open(device, [layer for layer in mine.layers if _is_kept(layer, matched)], reference, stack),
            theirs.open(device, [pair[1] for pair in pairs], reference, stack),
        ]
        noises, notes = _compared(runners, pairs, batches)
        off = _steps_off(mine, runners[0], golden)
        simulated = _from_simulated(mine, runners[0], golden)
    reached = {id(layer) for layer in matched.values()} | {id(layer) for layer in _passed(matched, theirs.layers)}
    left = tuple(layer.name for layer in theirs.layers if id(layer) not in reached)
    return Diff(
        artifact=str(artifact),
        against=str(theirs.folder),
        device=device.name,
        samples=sum(len(next(iter(batch.values()))) for batch in batches),
        layers=_with_steps(mine, _differences(mine, matched, noises, notes), simulated),
        left=left,
        passes=tuple(_pass_name(step) for step in mine.found.steps if step not in theirs.found.steps),
        remarks=(_as_always(off, reference), *_remarks(mine, notes)),
        reference_runtime=None if reference is None else reference.said,
    )


def _other(artifact: Path, against: Path | None) -> Path:
    """What the artifact is held against. InputError where it has no baseline."""
    if against is not None:
        return against
    if not (artifact / BASELINE_FOLDER / manifest.FILE).is_file():
        expected = f"a float baseline in {BASELINE_FOLDER}/, or --against ARTIFACT"
        raise InputError(Problem(str(artifact), BASELINE_FOLDER, expected, "none"))
    return artifact / BASELINE_FOLDER


def _opened(folder: Path) -> _Opened:
    found = manifest.read(folder)
    return _Opened(folder, found, layers(found.runtime, folder / found.main))


def _check_alike(mine: _Opened, theirs: _Opened) -> None:
    """InputError where the two can't be run on the same inputs, or where there are none."""
    if f"{GOLDEN_FOLDER}/inputs.npz" not in mine.found.files:
        raise InputError(Problem(str(mine.folder), GOLDEN_FOLDER, "golden vectors", "none"))
    if theirs.found.runtime != mine.found.runtime:
        raise InputError(Problem(str(theirs.folder), "runtime", mine.found.runtime, theirs.found.runtime))
    expected, got = ([(each.name, each.shape) for each in side.found.inputs] for side in (mine, theirs))
    if expected != got:
        raise InputError(Problem(str(theirs.folder), "inputs", str(expected), str(got)))


def _batches(
    arrays: Mapping[str, np.ndarray], shape: tuple[int | None, ...] | None, samples: int | None
) -> list[dict[str, np.ndarray]]:
    """The first samples in batches of which each is one inference."""
    size = (shape[0] if shape else None) or 1
    count = min(samples or math.inf, len(next(iter(arrays.values()))))
    return [
        {name: array[start : min(start + size, int(count))] for name, array in arrays.items()}
        for start in range(0, int(count), size)
    ]


def _compared(
    runners: Sequence[Runner], pairs: Sequence[tuple[Layer, Layer]], batches: Sequence[Mapping[str, np.ndarray]]
) -> tuple[dict[str, Noise], dict[str, str]]:
    """For each layer's tensor its noise, or why there is none to tell."""
    noises: dict[str, Noise] = {}
    notes: dict[str, str] = {}
    for batch in batches:
        found, right = (runner.tensors(batch) for runner in runners)
        for layer, other in pairs:
            mine, theirs = _real(found[layer.tensor], layer), _real(right[other.tensor], other)
            if mine.shape == theirs.shape:
                noises[layer.tensor] = noises.get(layer.tensor, Noise()).plus(theirs, mine)
            else:
                notes[layer.tensor] = f"shape {_shape(mine)}, {_shape(theirs)} in the other"
    return noises, notes


def _steps_off(mine: _Opened, runner: Runner, golden: Golden) -> float:
    """How far the artifact is from its golden outputs while its values are kept, in quantization steps."""
    outputs = dict(zip(runner.outputs, runner.run(golden.inputs), strict=True))
    found = (parity(golden.outputs[name], outputs[name], step) for name, step in golden.steps.items())
    return max(each.largest_steps for each in found)


def _is_kept(layer: Layer, matched: Mapping[str, Layer]) -> bool:
    """Whether the layer's values are asked for: it has a counterpart, or integers, which can be had at no price."""
    return layer.tensor in matched or layer.scale is not None


def _from_simulated(mine: _Opened, runner: Runner, golden: Golden) -> dict[str, Steps]:
    """How far each layer's tensor is from what was simulated in the first inference; of those that can be told."""
    if not golden.layers:
        return {}
    shape = mine.found.inputs[0].shape
    return off_by(runner.tensors(golden.first(shape[0] if shape else None)), mine.layers, golden.layers)


def _with_steps(
    mine: _Opened, found: Sequence[LayerDifference], simulated: Mapping[str, Steps]
) -> tuple[LayerDifference, ...]:
    """The same, with the distance from what was simulated where that is known."""
    every = []
    for layer, difference in zip(mine.layers, found, strict=True):
        steps = simulated.get(layer.tensor)
        if steps is not None:
            difference = replace(difference, simulated_steps=steps.largest, simulated_equal=steps.share_equal)
        every.append(difference)
    return tuple(every)


def _as_always(off: float, reference: Reference | None) -> str:
    """Whether the runtime computes otherwise where it hands out what it computes; of a reference, how far off it is."""
    if reference is not None:
        found = f"outputs up to {off:.2g} steps from the golden ones" if off else "exactly the golden outputs"
        return (
            f"these are the values of {reference.said}, which gives {found}: not of an engine, which rounds otherwise"
        )
    if not off:
        return "its values kept, the artifact gives exactly its golden outputs: these are the values of every day"
    return f"its values kept, the artifact is up to {off:.2g} steps from its golden outputs: other kernels may have run"


def _real(values: np.ndarray, layer: Layer) -> np.ndarray:
    """What the layer's values stand for."""
    import numpy as np

    if layer.scale is None or np.issubdtype(values.dtype, np.floating):
        return values
    real: np.ndarray = (values.astype(np.float64) - layer.zero_point) * layer.scale
    return real


def _shape(values: np.ndarray) -> str:
    return "x".join(map(str, values.shape))


def _passed(matched: Mapping[str, Layer], others: Sequence[Layer]) -> list[Layer]:
    """The other's layers that are compared by the activation behind them, which the artifact has in one with them."""
    makers = {layer.tensor: layer for layer in others}
    return [
        makers[other.sources[0]]
        for other in matched.values()
        if other.operator != INPUT and len(other.sources) == 1 and makers[other.sources[0]] not in matched.values()
    ]


def _differences(
    mine: _Opened, matched: Mapping[str, Layer], noises: Mapping[str, Noise], notes: Mapping[str, str]
) -> tuple[LayerDifference, ...]:
    shares = {tensor: noise.share for tensor, noise in noises.items()}
    sources = {layer.tensor: layer.sources for layer in mine.layers}
    steps = {entry.name: entry.step for entry in mine.found.outputs}
    found = []
    for layer in mine.layers:
        operator, other = "+".join((layer.operator, *layer.fused)), matched.get(layer.tensor)
        if other is None or layer.tensor in notes:
            note = notes.get(layer.tensor, "no counterpart")
            found.append(LayerDifference(layer.name, operator, layer.dtype, note=note))
            continue
        noise, step = noises[layer.tensor], layer.scale or steps.get(layer.tensor)
        more, before = added(shares, sources, layer.tensor)
        found.append(
            LayerDifference(
                name=layer.name,
                operator=operator,
                dtype=layer.dtype,
                against=other.name,
                sqnr_db=_finite(noise.sqnr_db),
                input_sqnr_db=-10 * math.log10(before) if 0 < before < math.inf else None,
                added_share=_finite(more) if layer.operator != INPUT else None,
                largest=noise.largest,
                largest_steps=noise.largest / step if step else None,
            )
        )
    return tuple(found)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _pass_name(step: str) -> str:
    return step.partition("{")[0]


def _remarks(mine: _Opened, notes: Mapping[str, str]) -> tuple[str, ...]:
    remarks = []
    if not any(layer.scale for layer in mine.layers):
        remarks.append(f"{mine.folder} is not quantized but perhaps in its weights: every value in it is float")
    if notes:
        remarks.append(
            f"{len(notes)} layers have another shape, as pruning leaves them: to see what quantization alone does,"
            " build the same recipe without compress.quantize and give that artifact as --against"
        )
    return tuple(remarks)
