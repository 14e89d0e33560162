"""What a vision transformer's attention takes on ARM in int8 and in float: why the profiles call its kernels slower.

    python benchmarks/suite/arm_attention.py [--quick]

Guest instructions, emulated, as `arm_widths.py` counts them and with the same needs: a proxy and not latency. The
network has random weights and is emitted by edgewright as a TFLite file: in float, in int8 with all that has a kernel,
and so that the kernels of the profile's `int8_static.slower` stay in float. Writes results/arm_attention.md and .json.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import _cifar
import _measure
import arm_widths

FLOAT, WHOLE, PARTLY = "float32", "int8, attention too", "int8, attention in float"
SAMPLES = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one core alone")
    options = parser.parse_args()
    if missing := arm_widths.what_is_missing():
        print(f"not run: {missing}")
        return
    cores = arm_widths.CORES[:1] if options.quick else arm_widths.CORES
    with tempfile.TemporaryDirectory() as folder:
        files = {form: emitted(form, Path(folder)) for form in (FLOAT, WHOLE, PARTLY)}
        plugin = arm_widths.compiled(Path(folder))
        counts = {core: arm_widths.instructions(core, list(files.values()), plugin) for core in cores}
    rows = [
        {"core": core, "form": form, "instructions": count}
        for core, found in counts.items()
        for form, count in zip(files, found, strict=True)
    ]
    lines = [
        [row["core"], row["form"], f"{row['instructions']:,}", f"{row['instructions'] / counts[row['core']][0]:.3f}"]
        for row in rows
    ]
    table = _measure.table(["core", "form", "guest instructions of one inference", "of float's"], lines)
    text = f"A vision transformer (6 layers, width 96, 64 tokens), emulated; no latency.\n\n{table}"
    _measure.write("arm_attention", text, rows, _measure.origin("ai-edge-litert", "torch"), quick=options.quick)


def emitted(form: str, folder: Path) -> Path:
    """The network's TFLite file in that form."""
    import torch
    from _transformers import VisionTransformer
    from edgewright.ir.state import InputSpec, ModelState
    from edgewright.passes import ALL, manager
    from edgewright.passes.contract import Context
    from edgewright.recipe.schema import Compress, Recipe
    from edgewright.runtimes import emitter

    torch.manual_seed(0)
    out, target = folder / form.replace(" ", "-").replace(",", ""), _target(form)
    out.mkdir()
    asked = {} if form == FLOAT else {"quantize": {"allow_float": True, "calibration": {"samples": SAMPLES}}}
    recipe: Any = Recipe.model_construct(compress=Compress.model_validate(asked))
    emits: Any = emitter(target.runtime)
    state = ModelState((InputSpec("image", (1, 3, 32, 32)),), VisionTransformer().eval())
    data: Any = _cifar.Splits(_measure.Noise((SAMPLES, 3, 32, 32), SAMPLES))  # type: ignore[arg-type]
    for planned in manager.plan(recipe, target, ALL, emits.name, emits.needs).steps:
        state = manager.run(planned.step, state, Context(data, "classification", 0, out, lambda text: None))
    main: Path = out / emits.emit(state, target, out).main
    return main


def _target(form: str) -> Any:
    """The profile; where attention is to be in int8, without a word of what is slower."""
    from edgewright.targets import load_target

    target = load_target(arm_widths.TARGET)
    int8 = target.quantization.int8_static
    if form != WHOLE or int8 is None:
        return target
    changed = target.quantization.model_copy(update={"int8_static": int8.model_copy(update={"slower": ()})})
    return target.model_copy(update={"quantization": changed})


if __name__ == "__main__":
    main()
