"""Our placement for TensorRT beside nvidia-modelopt's: same network, same calibration samples, one run.

    python benchmarks/suite/modelopt.py [--quick] [--data FOLDER] [--environment FOLDER] [--network NAME]...

nvidia-modelopt wants other versions of onnx and onnxruntime than edgewright, so it lives in an environment of its own:
the second FOLDER (default: out/modelopt beside this file), which the first full run makes with pip. Both sides start
from our float file, and compute in float16 what has no INT8. What the quantized files compute is told by onnxruntime
with every optimization off, as the reference for TensorRT, which is not run here: SQNR of the outputs and predictions
against the float file's, layers in INT8 by the graph. The first FOLDER holds the networks and images that the README's
section on benchmarks tells of. Writes results/modelopt.json and .md beside this file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import _cifar
import _measure
import _mobilenet
import numpy as np

PEER = "nvidia-modelopt"
REQUIREMENT = f"{PEER}[onnx]==0.47.0"
TARGET = "nvidia-rtx-ada"
OURS, FLOAT = "edgewright", "float"
SAMPLES = 256
BUILDS = ((OURS, "min-max"), (OURS, "entropy"), (OURS, "mse"), (PEER, "max"), (PEER, "entropy"))
SAME = {"min-max": "max", "entropy": "entropy"}
"""Our calibrations that are theirs too, and what they call them."""
DEFAULT = (OURS, "mse")
IMAGES = {"resnet20_cifar10jpeg_derived": 10000, "mobilenet_v2": 2000}
"""How many images of the test split each network is judged on."""
QUANTIZE = """
import sys
import numpy
from modelopt.onnx.quantization import quantize
model, samples, method, out = sys.argv[1:]
quantize(model, quantize_mode="int8", calibration_data={"image": numpy.load(samples)}, calibration_method=method,
         calibration_eps=["cpu"], high_precision_dtype="fp16", output_path=out)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer images; makes no environment")
    _cifar.add_data_option(parser)
    parser.add_argument("--environment", type=Path, default=_measure.OUT / "modelopt")
    parser.add_argument("--network", action="append", choices=tuple(IMAGES))
    options = parser.parse_args()
    _cifar.end_without(options.data)
    python = environment(options.environment, options.quick)
    rows: list[dict[str, Any]] = []
    for network in options.network or IMAGES:
        with tempfile.TemporaryDirectory() as folder:
            rows += compare(network, options, python, Path(folder))
    write(rows, python, options.quick)


def environment(folder: Path, quick: bool) -> Path:
    """The Python of the environment that holds the peer; a full run makes it, a quick one ends with 0 without it."""
    python = folder / "bin" / "python"
    if (folder / ".made").is_file():
        return python
    if quick:
        print(f"not run: there is no {folder}, which a run without --quick makes")
        sys.exit(0)
    import torch

    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet"]
    subprocess.run([*install, f"torch=={torch.__version__.partition('+')[0]}", REQUIREMENT], check=True)
    (folder / ".made").touch()
    return python


def compare(network: str, options: argparse.Namespace, python: Path, folder: Path) -> list[dict[str, Any]]:
    """One row for each file: who made it, how many layers are in INT8, and how far it is from the float file."""
    count = min(500, IMAGES[network]) if options.quick else IMAGES[network]
    rows = list(built(network, options, python, folder))
    samples = _cifar.Samples(options.data, "test")
    labels = samples.labels[:count]
    exact: Any = None
    for row in rows:
        outputs = answers(row.pop("file"), samples, count)
        exact = outputs if exact is None else exact
        row.update(images=count, top1=float((outputs.argmax(1) == labels).mean()))
        if row["who"] != FLOAT:
            row["sqnr_db"] = decibels(exact, outputs)
            row["agreement"] = float((outputs.argmax(1) == exact.argmax(1)).mean())
        print(f"{network}: {row}", file=sys.stderr)
    return rows


def built(network: str, options: argparse.Namespace, python: Path, folder: Path) -> Iterator[dict[str, Any]]:
    """The float file and every quantized one, all of the same exported network and the same samples."""
    from edgewright.passes import manager
    from edgewright.passes.calibrate import Calibrate
    from edgewright.passes.insert_quantization import InsertQuantization
    from edgewright.recipe.schema import Recipe

    train = _cifar.Samples(options.data, "train")
    state, context = folded(network, options.data, train, folder)
    floats = emitted(state, folder / FLOAT)
    np.save(folder / "samples.npy", next(train.arrays(SAMPLES, SAMPLES))[0])
    yield {"network": network, "who": FLOAT, "method": "", "file": floats}
    for who, method in BUILDS:
        if who == OURS:
            quantize = {"calibration": {"method": method, "samples": SAMPLES}}
            recipe = Recipe.model_construct(compress=_compress(quantize))
            after = state
            for kind in (Calibrate, InsertQuantization):
                step: Any = kind.for_target(_target(), recipe)
                after = manager.run(step, after, context)
            file = emitted(after, folder / method)
        else:
            file = folder / f"{who}-{method}.onnx"
            command = [python, "-c", QUANTIZE, floats, folder / "samples.npy", method, file]
            subprocess.run([str(part) for part in command], check=True, capture_output=True)
        inside, layers = in_int8(file)
        yield {"network": network, "who": who, "method": method, "file": file, "int8": inside, "layers": layers}


def in_int8(file: Path) -> tuple[int, int]:
    """How many layers read both operands through dequantize nodes, and how many layers there are."""
    import onnx
    from edgewright.runtimes.onnx_graph.quantized_values import Graph
    from edgewright.runtimes.onnx_graph.tensorrt_rules import LAYERS

    graph = Graph(onnx.load(str(file)), file.parent)
    layers = [node for node in graph.nodes if node.op_type in LAYERS]
    return sum(None not in [graph.quantized(name) for name in node.input[:2]] for node in layers), len(layers)


def folded(network: str, data: Path, train: _cifar.Samples, folder: Path) -> tuple[Any, Any]:
    """The network, exported, without batch normalization; and what its passes are handed."""
    from edgewright.ir.state import InputSpec, ModelState
    from edgewright.passes import manager
    from edgewright.passes.contract import Context
    from edgewright.passes.export import Export
    from edgewright.passes.fold_batchnorm import FoldBatchnorm

    kept = _measure.OUT / "mobilenet_v2.pt"
    module = _mobilenet.network(train, kept) if network == "mobilenet_v2" else _cifar.network(data, network)
    context = Context(_cifar.Splits(train), "classification", 0, folder, lambda text: None)  # type: ignore[arg-type]
    state = ModelState((InputSpec("image", (1, 3, 32, 32)),), module=module)
    return manager.run(FoldBatchnorm(), manager.run(Export(), state, context), context), context


def emitted(state: Any, folder: Path) -> Path:
    """The ONNX file that the target's emitter writes."""
    from edgewright.runtimes import emitter

    folder.mkdir()
    return folder / emitter(_target().runtime).emit(state, _target(), folder).main


def _target() -> Any:
    from edgewright.targets import load_target

    return load_target(TARGET)


def _compress(quantize: dict[str, Any]) -> Any:
    from edgewright.recipe.schema import Compress

    return Compress.model_validate({"quantize": quantize})


def answers(file: Path, samples: _cifar.Samples, count: int) -> Any:
    """The outputs (count, classes) by onnxruntime with every optimization off, one image at a time."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"image": images})[0] for images, _ in samples.arrays(1, count)])


def decibels(exact: Any, found: Any) -> float:
    """The power of the exact outputs over that of their error."""
    exact = exact.astype(np.float64)
    return float(10 * np.log10((exact**2).sum() / ((exact - found) ** 2).sum()))


def claims_of(rows: list[dict[str, Any]]) -> list[list[str]]:
    """What the rows say of the same calibration on both sides, and of our default beside the peer's best."""
    said = []
    for network in dict.fromkeys(row["network"] for row in rows):
        mine = {(row["who"], row["method"]): row for row in rows if row["network"] == network}
        peers = [row for (who, _), row in mine.items() if who == PEER]
        for method, theirs in SAME.items():
            said.append([network, *_against(method, mine[OURS, method], theirs, mine[PEER, theirs])])
        best = {key: max(row[key] for row in peers) for key in ("sqnr_db", "agreement")}
        said.append([network, *_against(DEFAULT[1], mine[DEFAULT], "the better of both", best)])
    return said


def _against(method: str, ours: dict[str, Any], their_method: str, theirs: dict[str, Any]) -> list[str]:
    decibel = ours["sqnr_db"] - theirs["sqnr_db"]
    points = 100 * (ours["agreement"] - theirs["agreement"])
    return [f"{method} against {their_method}", f"{decibel:+.2f} dB", f"{points:+.2f} points"]


def write(rows: list[dict[str, Any]], python: Path, quick: bool) -> None:
    lines = []
    for row in rows:
        layers = f"{row['int8']} of {row['layers']}" if "int8" in row else ""
        far = [f"{row['sqnr_db']:.2f}", f"{row['agreement']:.2%}"] if "sqnr_db" in row else ["", ""]
        lines.append(
            [row["network"], row["who"], row["method"], layers, *far, f"{row['top1']:.2%}", str(row["images"])]
        )
    headers = [
        "network",
        "quantized by",
        "calibration",
        "layers in INT8",
        "SQNR dB",
        "same prediction",
        "top-1",
        "images",
    ]
    held = _measure.table(["network", "edgewright's calibration", "SQNR", "same prediction"], claims_of(rows))
    said = (
        f"Placement for {TARGET}, {SAMPLES} calibration samples and float16 around INT8 on both sides; by onnxruntime"
        " with every optimization off, as the reference for TensorRT, which was not run. SQNR and predictions are those"
        " of the outputs against the float32 file's. MobileNetV2 is trained for three epochs only."
    )
    text = f"{said}\n\n{_measure.table(headers, lines)}\n\n{held}"
    where = _measure.origin("onnxruntime", "torch")
    _measure.write("modelopt", text, rows, {**where, PEER: _version(python)}, quick=quick)


def _version(python: Path) -> str:
    code = f"import importlib.metadata, json; print(json.dumps(importlib.metadata.version('{PEER}')))"
    shown = subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True).stdout
    return str(json.loads(shown))


if __name__ == "__main__":
    main()
