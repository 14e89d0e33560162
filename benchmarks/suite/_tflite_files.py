"""TFLite files of one network: ours, ai-edge-quantizer's from our float file, and how they are run here."""

from __future__ import annotations

import contextlib
import copy
import functools
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _cifar
import _measure
import numpy as np
from _tflite_networks import Case

Numbers = np.ndarray[Any, np.dtype[Any]]
TARGET = "arm64-cortex-a72"
OLD = "tflite-runtime"
ROUNDED_ONCE = "tflite-runtime, to the model that rounds once"
"""How far the old interpreter is from the simulation that its kernels do not follow."""


class File:
    """A TFLite file in ai-edge-litert's interpreter, one thread, XNNPACK as it is by default; floats in and out."""

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.path = path
        with quiet():
            self._interpreter = Interpreter(model_path=str(path), num_threads=1)
            self._interpreter.allocate_tensors()
        (into,), (out,) = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self._into, self._out = into["index"], out["index"]
        self.ports = _port("image", into), _port("output", out)

    def stored(self, values: Numbers) -> Numbers:
        """The network's inputs (N, ...) as the file takes them."""
        from edgewright.runtimes.ports import into

        return into(values, self.ports[0])

    def run(self, stored: Numbers) -> Numbers:
        """What the file gives for one input as it takes it: what is timed."""
        self._interpreter.set_tensor(self._into, stored)
        self._interpreter.invoke()
        result: Numbers = self._interpreter.get_tensor(self._out)
        return result

    def answers(self, values: Numbers) -> Numbers:
        """The outputs (N, ...) as the network would give them."""
        from edgewright.runtimes.ports import out_of

        stored = self.stored(values)
        return out_of(np.concatenate([self.run(each[None]) for each in stored]), self.ports[1])


def _port(name: str, details: dict[str, Any]) -> Any:
    from edgewright.runtimes import Port

    scale, zero_point = details["quantization"]
    is_image = len(details["shape"]) == 4
    return Port(name, details["dtype"].__name__, scale or None, zero_point, channels_last=is_image)


def in_old_interpreter(file: Path, values: Numbers) -> Numbers | None:
    """The outputs (N, ...) in tflite-runtime 2.14; None where that device was not made."""
    from edgewright.devices import registry
    from edgewright.pipeline.store import devices_folder
    from edgewright.runtimes import Ports, open_runner

    if not registry.is_ready(OLD, devices_folder()):
        return None
    device, ports = registry.device_named(OLD, devices_folder()), File(file).ports
    with open_runner("tflite", device, file, 1, Ports((ports[0],), (ports[1],))) as runner:
        (outputs,) = runner.run({"image": values})
    return outputs


def timed(files: Sequence[Path], values: Numbers, instances: int, rounds: int) -> Numbers:
    """Median nanoseconds (files, instances) of one inference on `values` (1, ...), in turns and in changing order.

    Every instance is an interpreter of its own: where its memory happens to lie moves a file's latency by a percent.
    """
    draw, medians = np.random.default_rng(0), np.zeros((len(files), instances))
    for instance in range(instances):
        order = draw.permutation(len(files))
        loaded = [File(files[place]) for place in order]
        calls = [functools.partial(file.run, file.stored(values)) for file in loaded]
        medians[order, instance] = np.median(_measure.calls_in_turns(calls, rounds), axis=1)
    return medians


@dataclass(frozen=True)
class Built:
    """One of our files, and the state that it was emitted from."""

    path: Path
    state: Any
    emitted: Any

    def simulated(self, values: Numbers) -> Numbers:
        """The outputs (N, ...) of the graph, which rounds once, as XNNPACK does."""
        return _answers(self.state.callable_module(), values)

    def simulated_old(self, values: Numbers) -> Numbers:
        """The outputs (N, ...) of the graph as tflite-runtime's kernels round, on a processor like this one."""
        from edgewright.quantization.integer_graph import Kernels, with_integer_kernels

        return _answers(with_integer_kernels(self.state.exported_program(), Kernels.OLD_X86), values)

    def foreign_scales(self) -> tuple[int, int]:
        """How many int8 tensors of the file have scales that our graph does not have, and how many there are."""
        from edgewright.runtimes.flatbuffer.file import read
        from edgewright.runtimes.flatbuffer.graph import tensors
        from edgewright.runtimes.flatbuffer.scales import grids_of

        known = grids_of(self.state.exported_program())
        int8 = [tensor for tensor in tensors(read(self.path)) if tensor.dtype == "int8"]
        grids = [(tuple(float(np.float32(each)) for each in t.scales), tuple(t.zero_points)) for t in int8]
        return sum(grid not in known for grid in grids), len(grids)


def _answers(module: Any, values: Numbers) -> Numbers:
    """The outputs (N, ...) of the module, sample by sample."""
    import torch

    with torch.no_grad():
        return np.concatenate([module(torch.from_numpy(each[None])).numpy() for each in values])


def folded(case: Case, scratch: Path) -> tuple[Any, Any]:
    """The network, exported, without batch normalization, and what passes run in."""
    from edgewright.ir.state import InputSpec, ModelState, register_quantized_operators
    from edgewright.passes import manager
    from edgewright.passes.contract import Context
    from edgewright.passes.export import Export
    from edgewright.passes.fold_batchnorm import FoldBatchnorm

    register_quantized_operators()
    data: Any = _cifar.Splits(case.calibration)
    context = Context(data, case.task, 0, scratch, lambda text: None)
    state = ModelState((InputSpec("image", case.shape),), module=case.network())
    return manager.run(FoldBatchnorm(), manager.run(Export(), state, context), context), context


def ours(state: Any, context: Any, samples: int, out: Path, target_name: str = TARGET) -> Built:
    """Our file in `out`: int8, calibrated by our default method on so many samples; float where that is 0."""
    from edgewright.passes import manager
    from edgewright.passes.calibrate import Calibrate
    from edgewright.passes.insert_quantization import InsertQuantization
    from edgewright.pipeline.planning import resolve
    from edgewright.recipe.quantization import Calibration, Quantize
    from edgewright.recipe.schema import Compress, Recipe
    from edgewright.runtimes import emitter

    target = resolve(target_name)
    if samples:
        compress = Compress(quantize=Quantize(calibration=Calibration(samples=samples)))
        recipe = Recipe.model_construct(compress=compress)
        for kind in (Calibrate, InsertQuantization):
            step: Any = kind.for_target(target, recipe)
            state = manager.run(step, state, context)
    out.mkdir()
    emitted = emitter(target.runtime).emit(state, target, out)
    return Built(out / emitted.main, state, emitted)


def theirs(case: Case, floats: Path, samples: int, out: Path, *, one_scale: bool = False) -> Path:
    """What ai-edge-quantizer's static int8 recipe makes of our float file, with its own calibration.

    `one_scale`: linear layers have one weight scale, instead of one per channel.
    """
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe

    with quiet():
        ((signature, names),) = Interpreter(model_path=str(floats)).get_signature_list().items()
        (name,) = names["inputs"]
        file = File(floats)
        given = [{name: file.stored(values)} for values, _ in case.calibration.arrays(1, samples)]
        library = quantizer.Quantizer(str(floats))
        entries = recipe.static_wi8_ai8()
        if one_scale:
            linear = copy.deepcopy(entries[0])
            linear["operation"] = "FULLY_CONNECTED"
            linear["op_config"]["weight_tensor_config"]["granularity"] = "TENSORWISE"
            entries.append(linear)
        library.load_quantization_recipe(entries)
        calibrated = library.calibrate({signature: given})
        library.quantize(calibrated).export_model(str(out))
    return out


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The libraries' progress is not shown."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
