"""How the work of int8 convolutions follows their widths on ARM: whether the profiles' `channel_multiple` pays.

    python benchmarks/suite/arm_widths.py [--quick]

Guest instructions, emulated: a proxy and not latency. Each network is one layer (or a chain of four) of random weights,
emitted by edgewright as a TFLite file and run by LiteRT with XNNPACK on emulated cores; a plugin of qemu counts the
instructions of one inference. The counts are the same in every run, to a few hundred, and no ARM board is
needed. A width is *wasted* where the next multiple takes no more than a hundredth more instructions.

Needs `edgewright devices make qemu-cortex-a53`, gcc, and qemu-aarch64 with plugins (apt-get install qemu-user gcc);
without them it says so and does nothing. Writes results/arm_widths.md and arm_widths.json beside this file.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import _measure
import numpy as np

EMULATOR, COMPILER = "qemu-aarch64", "gcc"
PLUGIN = Path(__file__).with_name("_instructions.c")
TARGET = "arm64-cortex-a53"
SAMPLES = 4
"""Calibration samples."""
SIDE, OTHER, DEPTH = 16, 32, 4
"""Feature maps are 16x16; the side of a convolution whose width does not change has 32 channels."""
WIDTHS = (8, 12, 15, 16, 17, 18, 20, 22, 23, 24, 25, 28, 31, 32, 33, 40, 47, 48, 49, 56, 63, 64)
WARM, COUNTED = 2, 3
MULTIPLES = (4, 8, 16)
KNOTS = (16, 32, 48, 64)
NO_MORE = 0.99
"""A width that takes this part of the instructions of a wider one takes as many: a few hundred differ by alignment."""
CORES = ("cortex-a53", "cortex-a72", "cortex-a76")
GUEST = """
import os, sys
import numpy
from ai_edge_litert.interpreter import Interpreter
warm, counted, *files = sys.argv[1:]
for file in files:
    interpreter = Interpreter(model_path=file, num_threads=1)
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    noise = numpy.random.default_rng(0).integers(-128, 128, given["shape"])
    interpreter.set_tensor(given["index"], noise.astype(given["dtype"]))
    for _ in range(int(warm)):
        interpreter.invoke()
    os.getsid(0)
    for _ in range(int(counted)):
        interpreter.invoke()
        os.getsid(0)
"""
"""What the guest does; the plugin writes down the count at each getsid."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer kinds, widths and cores")
    options = parser.parse_args()
    if reason := what_is_missing():
        print(f"nothing was counted: {reason}")
        return
    kinds = dict(list(KINDS.items())[:2]) if options.quick else KINDS
    widths = WIDTHS[3:14:2] if options.quick else WIDTHS
    cores = CORES[::2] if options.quick else CORES
    with tempfile.TemporaryDirectory() as folder:
        plugin = compiled(Path(folder))
        rows = [row for kind in kinds for row in swept(kind, widths, cores, plugin)]
    where = {**_measure.origin("ai-edge-litert", "torch"), "qemu": version(EMULATOR)}
    _measure.write("arm_widths", report(rows), rows, where, quick=options.quick)


def what_is_missing() -> str:
    """Why nothing can be counted here; empty where it can."""
    from edgewright.devices import registry
    from edgewright.pipeline.store import devices_folder

    names = [f"qemu-{core}" for core in CORES]
    if missing := [name for name in names if not registry.is_ready(name, devices_folder())]:
        return registry.how_to_make(missing[0], devices_folder())
    tools = [tool for tool in (EMULATOR, COMPILER) if shutil.which(tool) is None]
    return f"{' and '.join(tools)} is not there: apt-get install qemu-user gcc" if tools else ""


def compiled(folder: Path) -> Path:
    """The plugin."""
    made = folder / "instructions.so"
    subprocess.run([COMPILER, "-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-o", made, PLUGIN], check=True)
    return made


def version(program: str) -> str:
    """What the program says of its version."""
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return told.split("version ")[1].split()[0]


def swept(kind: str, widths: Sequence[int], cores: Sequence[str], plugin: Path) -> list[dict[str, Any]]:
    """A row for each width of the kind of network on each core."""
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for width in widths:
            files.append(emitted(kind, width, Path(folder) / str(width)))
            print(f"{kind}: width {width} of {widths[-1]} emitted", file=sys.stderr)
        counts = {core: instructions(core, files, plugin) for core in cores}
    return [
        {"kind": kind, "core": core, "width": width, "instructions": count}
        for core in cores
        for width, count in zip(widths, counts[core], strict=True)
    ]


def instructions(core: str, files: list[Path], plugin: Path) -> list[int]:
    """Guest instructions of one inference of each file on the emulated core, what calls the interpreter included.

    The first file runs twice: Python takes about a thousand more in the first loop of a process.
    """
    from edgewright.devices.qemu import QemuDevice
    from edgewright.pipeline.bench import device_named

    device = device_named(f"qemu-{core}")
    if not isinstance(device, QemuDevice):
        raise SystemExit(f"{device.name}: expected an emulated device")
    out = plugin.with_name(f"{core}.txt")
    out.write_text("")
    program, *rest = replace(device, emulator=EMULATOR).python(
        GUEST, str(WARM), str(COUNTED), str(files[0]), *map(str, files)
    )
    command = [program, "-plugin", f"file={plugin},out={out}", *rest]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    marks = np.array(out.read_text().split(), np.int64).reshape(len(files) + 1, COUNTED + 1)[1:]
    return [int(count) for count in np.median(np.diff(marks, axis=1), axis=1)]


def emitted(kind: str, width: int, folder: Path) -> Path:
    """The int8 TFLite file of the network."""
    from edgewright.ir.state import InputSpec, ModelState
    from edgewright.passes import manager
    from edgewright.passes.calibrate import Calibrate
    from edgewright.passes.contract import Context
    from edgewright.passes.export import Export
    from edgewright.passes.fold_batchnorm import FoldBatchnorm
    from edgewright.passes.insert_quantization import InsertQuantization
    from edgewright.recipe.quantization import Calibration, Quantize
    from edgewright.recipe.schema import Compress, Recipe
    from edgewright.runtimes.tflite import TfliteEmitter
    from edgewright.targets import load_target

    module, channels = KINDS[kind](width)
    target, shape = load_target(TARGET), (1, channels, SIDE, SIDE)
    folder.mkdir()
    data: Any = _measure.Noise(shape, SAMPLES)
    context = Context(data, "classification", 0, folder, lambda text: None)
    quantize = Quantize(calibration=Calibration(method="min-max", samples=SAMPLES))
    recipe: Any = Recipe.model_construct(compress=Compress(quantize=quantize))
    state = ModelState((InputSpec("image", shape),), module=module.eval())
    quantizing: Any = [step.for_target(target, recipe) for step in (Calibrate, InsertQuantization)]
    for step in (Export(), FoldBatchnorm(), *quantizing):
        state = manager.run(step, state, context)
    return folder / TfliteEmitter().emit(state, target, folder).main


def layer(into: int, out: int, kernel: int, groups: int = 1) -> Any:
    """One convolution and its ReLU, and the channels that it takes."""
    import torch
    from torch import nn

    torch.manual_seed(into + out)
    return nn.Sequential(nn.Conv2d(into, out, kernel, padding=kernel // 2, groups=groups), nn.ReLU()), into


def chain(width: int) -> Any:
    """A first convolution to `width` channels, DEPTH from `width` to `width`, ten outputs; and the channels taken."""
    import torch
    from torch import nn

    torch.manual_seed(width)
    layers: list[nn.Module] = [nn.Conv2d(3, width, 1), nn.ReLU()]
    for _ in range(DEPTH):
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10)), 3


KINDS: dict[str, Callable[[int], tuple[Any, int]]] = {
    "3x3, outputs": lambda width: layer(OTHER, width, 3),
    "3x3, inputs": lambda width: layer(width, OTHER, 3),
    "1x1, outputs": lambda width: layer(OTHER, width, 1),
    "1x1, inputs": lambda width: layer(width, OTHER, 1),
    "depthwise 3x3": lambda width: layer(width, width, 3, groups=width),
    "four 3x3": chain,
}
"""What is as wide as the width says."""


def report(rows: list[dict[str, Any]]) -> str:
    """What was counted, in words and tables."""
    return (
        "Guest instructions of one int8 inference on emulated cores: a proxy and not latency. For each multiple: how"
        " many of the other widths are wasted (the next width that is such a multiple takes at most a hundredth more"
        " instructions), and the median of their instructions divided by those of that next width. Last, the multiples"
        f" of 8 between {KNOTS[0]} and {KNOTS[-1]} that are none of 16, beside a straight line between those that are:"
        " above 1, kernels compute 16 channels at a time.\n\n"
        f"{summary(rows)}\n\nThousands of instructions:\n\n{excerpt(rows)}"
    )


def series(rows: list[dict[str, Any]]) -> Iterator[tuple[str, str, dict[int, int]]]:
    """(kind, core, instructions by width)."""
    for kind, core in dict.fromkeys((row["kind"], row["core"]) for row in rows):
        own = [row for row in rows if (row["kind"], row["core"]) == (kind, core)]
        yield kind, core, {row["width"]: row["instructions"] for row in own}


def summary(rows: list[dict[str, Any]]) -> str:
    """For each multiple, what the widths between two of its multiples cost beside the greater one."""
    lines = []
    for kind, core, counts in series(rows):
        lines.append([kind, core, *(beside_next(counts, multiple) for multiple in MULTIPLES), beside_line(counts)])
    headers = ["what is that wide", "core", *(f"multiples of {each}" for each in MULTIPLES), "8 beside 16"]
    return _measure.table(headers, lines)


def beside_next(counts: dict[int, int], multiple: int) -> str:
    """How many widths between two multiples are wasted, and what they cost beside the greater one (median)."""
    pairs = [(count, counts.get(-(-width // multiple) * multiple)) for width, count in counts.items()]
    between = [count / next_one for (width, _), (count, next_one) in zip(counts.items(), pairs, strict=True)
               if next_one and width % multiple]  # fmt: skip
    if not between:
        return "not taken"
    wasted = sum(each >= NO_MORE for each in between)
    return f"{np.median(between):.2f} ({wasted} of {len(between)})"


def beside_line(counts: dict[int, int]) -> str:
    """What odd multiples of 8 cost beside a straight line between the multiples of 16 (median)."""
    knots = [width for width in KNOTS if width in counts]
    odd = [width for width in counts if width % 16 == 8 and knots[0] < width < knots[-1]]
    beside = [counts[width] / np.interp(width, knots, [counts[knot] for knot in knots]) for width in odd]
    return f"{np.median(beside):.2f}" if beside else "not taken"


def excerpt(rows: list[dict[str, Any]]) -> str:
    """Thousands of instructions at neighbouring widths."""
    shown = sorted({row["width"] for row in rows})
    lines = [[kind, core, *(f"{counts[width] / 1000:.0f}" for width in shown)] for kind, core, counts in series(rows)]
    return _measure.table(["what is that wide", "core", *map(str, shown)], lines)


if __name__ == "__main__":
    main()
