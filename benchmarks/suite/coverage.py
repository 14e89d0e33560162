"""Which of torchvision's classification networks edgewright prunes, quantizes and runs, and why not where it doesn't.

    pip install --no-deps --target FOLDER torchvision==0.28.0 pillow
    python benchmarks/suite/coverage.py --torchvision FOLDER [--quick] [--network NAME]... [--again NAME]...

FOLDER lies outside the checkout, so that torchvision is a tool of this script and no part of the environment. Its
operators, which want CUDA, are declared before it is imported (`_torchvision.py`); only the structures are used.
Every network up to 30 million parameters gets random weights, goes through the passes of a plan (prune-channels by
30 % of the multiply-accumulates, ..., static INT8), is emitted, run in onnxruntime by the agent, and compared with the
simulated model. Each does so in a process of its own, which may take --limit seconds: a crash is a row. So does
torch-pruning driven by hand. A finished row is kept in results/coverage.json and not made again, unless --again names
it (or says `all`). Writes docs/coverage.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import _coverage_table
import _coverage_tensors
import _measure
import _torchvision

PRUNED, SAMPLES = 0.3, 8
QUICK = ("squeezenet1_1", "mobilenet_v3_small", "shufflenet_v2_x0_5")
LIMIT_SECONDS, PEER_SECONDS = 900.0, 60
"""Of one network; the second is processor time, so that a busy machine does torch-pruning no wrong."""
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--torchvision", type=Path, metavar="FOLDER", help="where it was installed; else PYTHONPATH")
    parser.add_argument("--quick", action="store_true", help="a few networks, kept in out/")
    parser.add_argument("--network", action="append", default=[], metavar="NAME", help="this one only")
    parser.add_argument("--again", action="append", default=[], metavar="NAME", help="make a kept row anew; or `all`")
    parser.add_argument("--target", default="x86-avx2")
    parser.add_argument("--limit", type=float, default=LIMIT_SECONDS, help="seconds for one network (default 900)")
    parser.add_argument("--one", choices=(OURS, PEER), help=argparse.SUPPRESS)
    options = parser.parse_args()
    models = _torchvision.import_models(options.torchvision)
    if options.one:
        row = ours(models, options.network[0], options.target) if options.one == OURS else peer(models, options)
        print("\n" + json.dumps(row))
        return
    make_rows(_torchvision.names(models), options)


def make_rows(names: list[str], options: argparse.Namespace) -> None:
    """Every network has its row in the file of results, and the page is written at the end."""
    kept = (_measure.OUT if options.quick else _measure.RESULTS) / "coverage.json"
    kept.parent.mkdir(exist_ok=True)
    wanted = options.network or (QUICK if options.quick else names)
    for number, name in enumerate(wanted, 1):
        if name in read(kept) and not {name, "all"} & {*options.again}:
            continue
        row = {"network": name, **in_own_process(OURS, name, options.limit, options)}
        row["peer"] = in_own_process(PEER, name, options.limit, options)
        row["made"] = _measure.origin("onnxruntime", "torch", "torch-pruning")
        print(f"{number} of {len(wanted)}: {_coverage_table.short(row)}", file=sys.stderr, flush=True)
        rows = {**read(kept), name: row}
        partial = kept.with_suffix(f".{os.getpid()}")
        finished = [rows[entry] for entry in names if entry in rows]
        partial.write_text(json.dumps({"rows": finished}, indent=1) + "\n", "utf-8")
        partial.replace(kept)
    text = _coverage_table.document([*read(kept).values()], len(names), options.target)
    docs = Path(__file__).resolve().parents[2] / "docs"
    ((_measure.OUT if options.quick else docs) / "coverage.md").write_text(text, "utf-8")
    print(text)


def read(kept: Path) -> dict[str, Row]:
    """The rows that are finished, by network; another run may add to the same file meanwhile."""
    document = json.loads(kept.read_text("utf-8")) if kept.exists() else {}
    return {row["network"]: row for row in document.get("rows", ())}


def in_own_process(who: str, name: str, limit_seconds: float, options: argparse.Namespace) -> Row:
    """The row that a process of its own makes; where it makes none, the row says how it ended."""
    command = [sys.executable, str(Path(__file__).resolve()), "--one", who, "--network", name]
    command += ["--target", options.target]
    command += ["--torchvision", str(options.torchvision)] if options.torchvision else []
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        said, complaint = process.communicate(timeout=limit_seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        _, complaint = process.communicate()
        return {"error": f"not done within {limit_seconds:g} s ({_last_line(complaint) or 'before the first stage'})"}
    if process.returncode == -signal.SIGXCPU:
        return {"error": f"not done within {PEER_SECONDS} s of processor time"}
    if process.returncode:
        return {"error": f"the process ended with {process.returncode}: {_last_line(complaint)}"}
    row: Row = json.loads(said.splitlines()[-1])
    return row


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


OURS, PEER = "edgewright", "torch-pruning"


def ours(models: Any, name: str, target_name: str) -> Row:
    """What edgewright makes of the network: a recipe's plan for the target, pass by pass, and its artifact."""
    import torch
    from edgewright.ir.errors import EdgewrightError
    from edgewright.pipeline.keys import own_source

    torch.set_num_threads(1)
    row: Row = {"source": own_source()[:12], "seconds": {}, "error": None}
    with tempfile.TemporaryDirectory(prefix="edgewright-coverage-") as folder:
        try:
            _through_all(models, name, target_name, Path(folder), row)
        except EdgewrightError as error:
            row["error"] = str(error)
        except Exception as error:  # a network may break anything; the row says what
            traceback.print_exc()
            row["error"] = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    return row


def _through_all(models: Any, name: str, target_name: str, folder: Path, row: Row) -> None:
    from edgewright.ir.state import InputSpec, ModelState
    from edgewright.passes import manager
    from edgewright.passes.contract import Context
    from edgewright.pipeline.planning import plan
    from edgewright.recipe import quantization, schema
    from edgewright.runtimes import emitter
    from edgewright.targets import load_target

    target = load_target(target_name)
    recipe: Any = schema.Recipe.model_construct(
        model=schema.Model.model_construct(inputs={"image": schema.Input(shape=(1, 3, 1, 1))}),
        compress=schema.Compress(
            prune=schema.Prune(flops=PRUNED, criterion="l2"),
            quantize=quantization.Quantize(calibration=quantization.Calibration(method="min-max", samples=SAMPLES)),
        ),
    )
    side = _torchvision.side(name)
    with stage(row, "build"):
        network = _torchvision.network(models, name)
    row.update(parameters=_torchvision.parameters(network), side=side, macs=macs(network, side))
    data: Any = _torchvision.Noise(side, SAMPLES)
    context = Context(data, "classification", 0, folder, lambda text: None)
    state = ModelState((InputSpec("image", (1, 3, side, side)),), module=network)
    probe = next(data.batches(1)).inputs
    for planned in plan(recipe, target).steps:
        with stage(row, planned.step.name):
            state = manager.run(planned.step, state, context, probe)
        if planned.step.name == "prune-channels":
            row.update(pruning(state, side))
            with stage(row, "rebuild"):
                _check_rebuilt(models, name, state)
    with stage(row, "emit"):
        emitted = emitter(target.runtime).emit(state, target, folder)
    row.update(bytes=emitted.total_bytes, coverage=asdict(emitted.coverage))
    row["left_float"] = dict(state.attachments["quantization"]["left_float"])
    with stage(row, "run"):
        row["parity"] = parity(state, folder / emitted.main, target.runtime, data)
    with stage(row, "compare"):
        row["tensors"] = _coverage_tensors.compared(state, folder / emitted.main, probe[0])


@contextlib.contextmanager
def stage(row: Row, name: str) -> Iterator[None]:
    """The row gains the seconds; a process that is ended in the middle has said on standard error where it was."""
    print(f"in {name}", file=sys.stderr, flush=True)
    start = time.perf_counter()
    try:
        yield
    finally:
        row["seconds"][name] = round(time.perf_counter() - start, 2)


def macs(network: Any, side: int) -> float:
    import torch
    from edgewright.channels.costs import count_macs

    return count_macs(network, (torch.zeros(1, 3, side, side),))


def pruning(state: Any, side: int) -> Row:
    """What is left of the network, and why its layers that lost nothing were left whole, as the pass said."""
    whole: Counter[str] = Counter()
    for note in state.history[-1].notes:
        if note.startswith("left whole: "):
            _, layers, reason = note.split(": ", 2)
            whole[reason] += len(layers.split(", "))
    return {
        "pruned_macs": macs(state.module, side),
        "pruned_parameters": _torchvision.parameters(state.module),
        "pruned_layers": sum(" channels" in note and " -> " in note for note in state.history[-1].notes),
        "whole": dict(whole.most_common()),
    }


def _check_rebuilt(models: Any, name: str, state: Any) -> None:
    """The constructor's network takes the edits and then the weights, strictly; else torch raises."""
    from edgewright.ir.state import apply_edits

    apply_edits(_torchvision.plain(models, name), state.edits).load_state_dict(state.module.state_dict(), strict=True)


def parity(state: Any, file: Path, runtime: str, data: Any) -> Mapping[str, Any]:
    """How far the artifact's outputs, from the agent, are from those of the simulated model."""
    import numpy as np
    import torch
    from edgewright.benchmarks import accuracy
    from edgewright.devices.local import LocalDevice
    from edgewright.runtimes import open_runner

    images = next(data.batches(SAMPLES)).inputs[0]
    module = state.callable_module()
    with torch.no_grad():
        simulated = np.concatenate([module(image).numpy() for image in images.split(1)])
    with open_runner(runtime, LocalDevice(), file, threads=1) as runner:
        (outputs,) = runner.run({"image": images.numpy()})
        first_ms = runner.first_inference_ns / 1e6
    if not np.isfinite(outputs).all():
        raise ValueError("the artifact's outputs are not all finite")
    step = state.attachments["quantization"]["output_steps"][0]
    same = simulated.argmax(1) == outputs.argmax(1)
    gaps = (simulated.max(1) - simulated[range(len(outputs)), outputs.argmax(1)]) / step
    found = {"same": int(same.sum()), "images": len(same), "gap_steps": float(gaps.max()), "step": step}
    return {**asdict(accuracy.parity(simulated, outputs, step)), **found, "first_ms": first_ms}


def peer(models: Any, options: argparse.Namespace) -> Row:
    """What torch-pruning makes of the network at its defaults, the layer that gives the classes aside."""
    import torch
    import torch_pruning

    torch.set_num_threads(1)
    name = options.network[0]
    side, network = _torchvision.side(name), _torchvision.network(models, name)
    image = torch.randn(1, 3, side, side)
    before = macs(network, side)
    last = [
        part
        for part in network.modules()
        if _torchvision.CLASSES in (getattr(part, "out_features", 0), getattr(part, "out_channels", 0))
    ]
    spent = int(time.process_time())
    resource.setrlimit(resource.RLIMIT_CPU, (spent + PEER_SECONDS, spent + PEER_SECONDS + 5))
    try:
        torch_pruning.pruner.MagnitudePruner(
            network,
            image,
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=PRUNED,
            ignored_layers=last,
        ).step()
        shape = tuple(network(image).shape)
    except Exception as error:  # whatever it raises is what the row says
        return {"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
    if shape != (1, _torchvision.CLASSES):
        return {"error": f"its outputs are {shape}"}
    return {"error": None, "macs": macs(network, side) / before}


if __name__ == "__main__":
    main()
