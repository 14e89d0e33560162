"""Eight-bit weights on x86 without VNNI: the drop that saturation is predicted to cost, beside what this CPU makes.

    python benchmarks/suite/saturation.py [--quick] [--data FOLDER] [--images N]

ResNet20 and ResNet56 in INT8 as for a CPU with VNNI (eight bits) and as for one without (seven). For each: the model
as it reads, the prediction (quantization/saturation.py simulates the sums of two products that saturate), and
onnxruntime on this CPU, which saturates where it has no VNNI. Writes results/saturation.md and saturation.json.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import _cifar
import _measure
import numpy as np

NETWORKS = ("resnet20_cifar10jpeg_derived", "resnet56_cifar10")
TARGETS = {"8 bits": "x86-avx512-vnni", "7 bits": "x86-avx2"}
AT_ONCE = 50


def main() -> None:
    from edgewright.devices.machine import this_machine

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="ResNet20 and fewer images")
    _cifar.add_data_option(parser)
    parser.add_argument("--images", type=int, default=1000)
    options = parser.parse_args()
    _cifar.end_without(options.data)
    count = 100 if options.quick else options.images
    lines, stored = [], []
    for name in NETWORKS[: 1 if options.quick else None]:
        for bits, target in TARGETS.items():
            row = row_of(name, target, count, options.data)
            print(f"{name}, {bits}: {row}", file=sys.stderr, flush=True)
            lines.append([name, bits, *(f"{value:.2%}" for value in row.values())])
            stored.append({"network": name, "weights": bits, **row})
    headers = ["network", "weights", *HEADERS.values()]
    has = "has VNNI: it does not saturate" if _has_vnni(this_machine().flags) else "has no VNNI"
    text = f"{count} test images; this CPU {has}.\n\n{_measure.table(headers, lines)}"
    _measure.write("saturation", text, stored, _measure.origin("onnxruntime", "torch"), quick=options.quick)


HEADERS = {
    "float": "float32",
    "read": "as the model reads",
    "predicted": "predicted without VNNI",
    "measured": "onnxruntime on this CPU",
    "as_read": "answers as the model reads",
    "as_predicted": "answers as predicted",
}
"""What each figure of a row is; all are shares of the test images."""


def row_of(name: str, target_name: str, count: int, data: Path) -> dict[str, float]:
    import torch
    from edgewright.ir.state import InputSpec, ModelState
    from edgewright.passes import ALL, manager
    from edgewright.passes.contract import Context
    from edgewright.quantization.saturation import saturating
    from edgewright.recipe.schema import Compress, Recipe
    from edgewright.runtimes.onnxruntime import OnnxEmitter
    from edgewright.targets import load_target

    target, emitter = load_target(target_name), OnnxEmitter()
    recipe: Any = Recipe.model_construct(compress=Compress.model_validate({"quantize": {}}))
    network = _cifar.network(data, name)
    state = ModelState((InputSpec("image", (None, 3, 32, 32)),), network)
    splits: Any = _cifar.Splits(_cifar.Samples(data, "train"))
    with tempfile.TemporaryDirectory() as folder:
        context = Context(splits, "classification", 0, Path(folder), lambda text: None)
        for planned in manager.plan(recipe, target, ALL, emitter.name, emitter.needs).steps:
            state = manager.run(planned.step, state, context)
        file = Path(folder) / emitter.emit(state, target, Path(folder)).main
        samples = _cifar.Samples(data, "test")
        measured = _measure.predictions(_measure.session(file), samples.arrays(1, count))
    exact, saturated = state.callable_module(), saturating(state)
    floats, read, predicted, labels = [], [], [], []
    with torch.no_grad():
        for images, own in samples.arrays(AT_ONCE, count):
            given = torch.from_numpy(images)
            floats.append(network(given).argmax(1))
            read.append(exact(given).argmax(1))
            outputs = saturated(given)
            predicted.append((outputs[0] if isinstance(outputs, tuple | list) else outputs).argmax(1))
            labels.append(own)
    answers = [np.concatenate(each) for each in (floats, read, predicted)] + [measured]
    right = np.concatenate(labels)
    shares = [float((each == right).mean()) for each in answers]
    shares += [float((measured == answers[1]).mean()), float((measured == answers[2]).mean())]
    return dict(zip(HEADERS, shares, strict=True))


def _has_vnni(flags: frozenset[str]) -> bool:
    return any("vnni" in flag for flag in flags)


if __name__ == "__main__":
    main()
