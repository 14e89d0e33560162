"""Proof that an artifact computes what was simulated: both run on the same samples, and differ by so many steps.

Where the machine lacks the target's instruction set, its kernels may compute otherwise than the target's (int8
products that saturate). Then golden vectors are what was simulated, and a failed proof says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..benchmarks import accuracy
from ..benchmarks.accuracy import Parity
from ..ir.errors import InputError, Problem, StepError
from ..ir.graph import has_open_batch
from ..passes.convert_to_float16 import ConvertToFloat16
from ..quantization.integer_graph import Kernels, is_to_the_bit, with_integer_kernels
from ..runtimes import emitter, open_prover
from .keys import digest, own_source, runtime_version
from .simulated import Simulated, first_off, simulate

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
REPEATABLE_STEPS = 1.0
"""How far the same file in the same runtime may be from what it answered before: kernels may add in another order."""
SIMULATED_STEPS = 4.0
"""The same from what was simulated: each layer may round a tie to the other side."""
FLOAT_STEPS = 0.01
"""The same where nothing is quantized and a step is a 255th of the largest output."""
HALF_STEPS = 1.0
"""The same where float16 is computed in: eleven bits of each value are kept, in as many layers as there are."""
OTHER_KERNELS = {"tflite": (Kernels.OLD_X86, Kernels.OLD_ARM)}
"""By runtime, kernels that may run an artifact on a device, and of which is known how they round."""


_BY_KERNELS = "outputs-"
"""What the files' names begin with that hold outputs as other kernels round."""


@dataclass(frozen=True)
class Golden:
    """A few inputs and the right outputs for them; `steps` are one quantization step of each output.

    `allowed_steps` is how far the artifact may be from them, in its runtime on its device. `layers` are what the
    simulated model holds inside in the first inference; empty where nothing is quantized, or only weights. `by_kernels`
    are the outputs as other kernels round, by their names.
    """

    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    steps: dict[str, float]
    allowed_steps: float
    layers: tuple[Simulated, ...] = ()
    by_kernels: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """`folder` holds inputs.npz, outputs.npz, golden.json and, where there are any, layers and others' outputs."""
        import numpy as np

        folder.mkdir(exist_ok=True)
        np.savez(folder / "inputs.npz", **self.inputs)  # type: ignore[arg-type]
        np.savez(folder / "outputs.npz", **self.outputs)  # type: ignore[arg-type]
        document: dict[str, Any] = {"steps": self.steps, "allowed_steps": self.allowed_steps}
        if self.layers:
            document["layers"] = [each.label() for each in self.layers]
            values = {str(index): each.values for index, each in enumerate(self.layers)}
            np.savez_compressed(folder / "layers.npz", **values)  # type: ignore[arg-type]
        for name, outputs in self.by_kernels.items():
            np.savez(folder / f"{_BY_KERNELS}{name}.npz", **outputs)  # type: ignore[arg-type]
        (folder / "golden.json").write_text(json.dumps(document))

    @classmethod
    def read(cls, folder: Path) -> Golden:
        """The vectors that `write` wrote; no pickle is loaded."""
        document = json.loads((folder / "golden.json").read_text())
        inputs, outputs = _arrays(folder / "inputs.npz"), _arrays(folder / "outputs.npz")
        labels = document.get("layers", [])
        values = _arrays(folder / "layers.npz") if labels else {}
        others = {file.stem.removeprefix(_BY_KERNELS): _arrays(file) for file in folder.glob(f"{_BY_KERNELS}*.npz")}
        try:
            layers = tuple(Simulated(**label, values=values[str(index)]) for index, label in enumerate(labels))
            return cls(inputs, outputs, dict(document["steps"]), float(document["allowed_steps"]), layers, others)
        except (KeyError, TypeError, ValueError) as error:
            expected = "steps and allowed_steps, as they were written"
            raise InputError(Problem(str(folder / "golden.json"), "", expected, str(error))) from None

    def first(self, batch: int | None) -> dict[str, np.ndarray]:
        """The inputs of the first inference of a network that takes so many samples; None: any number."""
        return {name: values[: batch or 1] for name, values in self.inputs.items()}

    def as_run_by(self, identity: Mapping[str, Any]) -> tuple[Golden, str]:
        """The vectors as those kernels round that ran the artifact, and their name; unchanged where they are not known.

        `identity` is what the runner says of itself.
        """
        kernels = f"{identity.get('runtime')}-{identity.get('architecture')}"
        is_known = kernels in self.by_kernels and ("avx2" in identity["flags"] or kernels != Kernels.OLD_X86.value)
        if not is_known:
            return self, ""
        return replace(self, outputs=self.by_kernels[kernels], allowed_steps=REPEATABLE_STEPS), kernels


def _arrays(path: Path) -> dict[str, np.ndarray]:
    import numpy as np

    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


def prove(
    workshop: Workshop, made: Made, device: Device, unlike: Sequence[str], which: str
) -> tuple[Parity, Path, bool]:
    """The parity of artifact and simulated model, the folder of golden vectors, and whether both were known before.

    StepError where the two agree on less than `AGREEMENT` of the samples, or where fewer of the values are within one
    step than the runtime's emitter says; a warning instead where `unlike` says why the device is not the target.
    `which` of a build's artifacts it is, messages say.
    """
    version = runtime_version(made.runtime)
    where = [device.name, list(unlike)]
    key = digest("parity", made.key, workshop.data_print("evaluation"), version, where, own_source())
    with workshop.store.lock(key):
        folder = workshop.store.find("results", key)
        is_known = folder is not None
        if folder is None:
            workshop.progress.note(f"verify: {which} against simulated model")
            folder = workshop.store.put("results", key, lambda out: _write(out, workshop, made, device, bool(unlike)))
    parity = Parity(**json.loads((folder / "parity.json").read_text()))
    if reason := doubt(parity, emitter(made.runtime).within_one):
        message = f"verify: the {which} in {made.runtime} is not what was simulated: {reason}"
        message += _beginning(made, device, Golden.read(folder / "golden"), workshop.inputs[0].batch)
        if not unlike:
            raise StepError(message)
        workshop.progress.warn(
            f"{message}. This machine is not {made.plan.target}: {'; '.join(unlike)}; its kernels compute otherwise"
            " (without VNNI, sums of 8-bit products saturate), and so do the accuracy and the flips that are shown."
            f" Prove it on such a machine (edgewright verify), or build for this one (--target host)"
        )
    return parity, folder / "golden", is_known


def doubt(parity: Parity, within_one: float) -> str:
    """Why the artifact can't be what was simulated; empty where it can."""
    agreement = 1.0 if parity.argmax_agreement is None else parity.argmax_agreement
    if agreement >= AGREEMENT and parity.within_one_step >= within_one:
        return ""
    return (
        f"they agree on {agreement:.1%} of {SAMPLES} samples (expected {AGREEMENT:.0%}), {parity.within_one_step:.1%}"
        f" of the values are within one step (expected {within_one:.0%}), and the largest difference is"
        f" {parity.largest_steps:.1f} steps"
    )


def _beginning(made: Made, device: Device, golden: Golden, batch: int | None) -> str:
    """Where the difference begins, for the end of a sentence; empty where that can't be told."""
    name = first_off(made.runtime, device, made.main, made.emitted.ports, golden.first(batch), golden.layers)
    return f"; the first layer that is more than one step off: {name}" if name else ""


def _write(out: Path, workshop: Workshop, made: Made, device: Device, is_unlike: bool) -> None:
    import numpy as np

    state, _ = workshop.state(made.plan)
    batches = _whole_batches(workshop, state)
    simulated = _simulate(state.callable_module(), batches)
    names = [spec.name for spec in workshop.inputs]
    arrays = {name: np.concatenate([batch[at].numpy() for batch in batches]) for at, name in enumerate(names)}
    with open_prover(made.runtime, device, made.main, made.emitted.ports) as runner:
        outputs = dict(zip(runner.outputs, runner.run(arrays), strict=True))
    _check_labels(workshop, next(iter(outputs.values())))
    quantized_steps = made.output_steps or (None,) * len(simulated)
    steps = [given or _float_step(values) for given, values in zip(quantized_steps, simulated, strict=True)]
    found = [accuracy.parity(*each) for each in zip(simulated, outputs.values(), steps, strict=True)]
    worst: dict[str, Any] = asdict(max(found, key=lambda parity: parity.largest_steps))
    (out / "parity.json").write_text(json.dumps(worst))
    first = {name: values[:GOLDEN_SAMPLES] for name, values in arrays.items()}
    right = dict(zip(outputs, simulated, strict=True)) if is_unlike else outputs
    answers = {name: values[:GOLDEN_SAMPLES] for name, values in right.items()}
    golden_steps = dict(zip(outputs, map(float, steps), strict=True))
    allowed = _allowed(bool(made.output_steps), is_unlike or emitter(made.runtime).is_portable, _is_half(made))
    golden = Golden(first, answers, golden_steps, allowed)
    layers = _layers(state, golden, workshop.inputs[0].batch)
    others = _by_kernels(made.runtime, state, batches, outputs)
    replace(golden, layers=layers, by_kernels=others).write(out / "golden")


def _check_labels(workshop: Workshop, output: np.ndarray) -> None:
    """InputError where the recipe names more values, or fewer, than the first output (N, ..., values) has."""
    labels = workshop.recipe.about.labels
    if labels and len(labels) != output.shape[-1]:
        expected = f"{output.shape[-1]}, one for each value of the output"
        raise InputError(Problem(str(workshop.recipe.path), "about.labels", expected, str(len(labels))))


def _layers(state: ModelState, golden: Golden, batch: int | None) -> tuple[Simulated, ...]:
    """What a quantized model holds inside in the first inference, filled up with its last sample as a runner does."""
    import torch

    if "quantization" not in state.attachments:
        return ()
    first = [torch.from_numpy(values) for values in golden.first(batch).values()]
    missing = (batch or 1) - len(first[0])
    filled = [torch.cat([values, *[values[-1:]] * missing]) for values in first]
    return simulate(state.exported_program(), filled)


def _by_kernels(
    runtime: str, state: ModelState, batches: Sequence[tuple[Tensor, ...]], names: Iterable[str]
) -> dict[str, dict[str, np.ndarray]]:
    """The named outputs for the golden inputs as the other kernels of the runtime round; none of a float model.

    Where that is not known of every operator there are none: the plain vectors hold, with the steps that they allow.
    """
    if "quantization" not in state.attachments or not is_to_the_bit(state.exported_program()):
        return {}
    needed = batches[: -(-GOLDEN_SAMPLES // len(batches[0][0]))]
    found = {}
    for kernels in OTHER_KERNELS.get(runtime, ()):
        module = with_integer_kernels(state.exported_program(), kernels)
        answers = [values[:GOLDEN_SAMPLES] for values in _simulate(module, needed)]
        found[kernels.value] = dict(zip(names, answers, strict=True))
    return found


def _is_half(made: Made) -> bool:
    """Whether the artifact's runtime computes in float16."""
    steps = (planned.step for planned in made.plan.steps)
    return any(isinstance(step, ConvertToFloat16) and step.computed_in == "float16" for step in steps)


def _allowed(is_quantized: bool, is_simulated: bool, is_half: bool) -> float:
    """How far from its golden vectors an artifact may be, in steps.

    `is_simulated`: other kernels than those that gave the vectors may have to reach them, as another interpreter's.
    """
    if not is_quantized:
        return HALF_STEPS if is_half else FLOAT_STEPS
    return SIMULATED_STEPS if is_simulated else REPEATABLE_STEPS


def _whole_batches(workshop: Workshop, state: ModelState) -> list[tuple[Tensor, ...]]:
    """Inputs of about `SAMPLES` evaluation samples, in batches that the graph takes, filled up where need be."""
    is_open = has_open_batch(state.exported_program())
    size = 32 if is_open else (workshop.inputs[0].batch or 1)
    batches = workshop.data.split("evaluation").batches(size, limit=SAMPLES)
    return [batch.inputs if is_open else batch.filled(size) for batch in batches]


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
