"""TensorRT: the emitter that writes what an engine is built from, and what is known of the engine before it is built.

An engine fits one GPU, driver and version of TensorRT, so it is built on the device
(https://docs.nvidia.com/deeplearning/tensorrt/latest/architecture/architecture-overview.html); what is written here is
the same for all of them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ..devices.agent.build_engine import explain
from ..ir.errors import StepError
from ..ir.facts import EXPORTED, Fact
from .contract import NO_NOTES, Coverage, Emitted, ModelNotes, Reference
from .tensorrt_build import readme
from .tensorrt_build.host import can_run
from .tensorrt_build.models import write_models
from .tensorrt_build.settings import Settings, shape_profile, stand_in
from .tensorrt_build.verdict import LIBRARY, PACKAGES, Verdict, ask
from .tensorrt_build.verdict import SCRIPT as STANDALONE

if TYPE_CHECKING:
    from ..ir.state import ModelState
    from ..targets.schema import Gpu, Target
    from .onnx_graph.tensorrt_rules import Finding

ENGINE, VERDICT, SCRIPT = "model.engine", "verdict.json", "build_engine.py"
REFERENCE = Reference("onnxruntime", {"unoptimized": True}, "onnxruntime with its optimizations off")
BUILT_NEVER_RUN = f"{ENGINE} was built, never run: there was no such GPU"


@dataclass(frozen=True)
class TensorrtEmitter:
    """Emits `model.int8.onnx`, or the float models, with build_engine.py, engine.json and verdict.json.

    Where TensorRT for RTX is installed and the target is one of its GPUs, the engine too: built, never run.
    """

    name: ClassVar[str] = "tensorrt"
    needs: ClassVar[frozenset[Fact]] = frozenset({EXPORTED})
    packages: ClassVar[Mapping[str, str]] = {"onnxruntime": "onnxruntime"}
    extra: ClassVar[str] = "onnxruntime"
    builders: ClassVar[Mapping[str, str]] = dict.fromkeys(PACKAGES, LIBRARY)
    is_portable: ClassVar[bool] = True
    within_one: ClassVar[float] = 0.95

    def reference(self) -> Reference | None:
        """onnxruntime on the same graph, with no optimization that could change what it computes; None beside a GPU."""
        return None if can_run() else REFERENCE

    def refusals(self, batches: Mapping[str, int | None]) -> tuple[str, ...]:
        """None: an open batch becomes a range of the engine's."""
        return ()

    def emit(self, state: ModelState, target: Target, out: Path, notes: ModelNotes = NO_NOTES) -> Emitted:
        """The artifact's files lie in `out`; but for an engine, the same state gives the same bytes.

        StepError where a need does not hold, an operator has no ONNX form, the rules for quantized models are broken,
        or the target's own parser or builder refuses the model.
        """
        from .onnx_graph.count import count
        from .onnx_graph.tensorrt_rules import lint
        from .tensorrt_build.wanted import sparse_layers, wanted

        if missing := self.needs - state.facts:
            raise StepError(f"{self.name}: needs '{', '.join(map(str, missing))}', which does not hold")
        gpu = _gpu(target)
        models = write_models(state, target, gpu, out, notes)
        main = models.main[0]
        names, coverage = wanted(out / main)
        settings = Settings(
            model=main,
            shapes=shape_profile(state.inputs, notes.batch),
            int8_layers=names,
            compute_capability=gpu.compute_capability,
            runtime_line=gpu.runtime_line,
            sparse=gpu.sparsity_2_4 and bool(sparse_layers(out / main)),
        )
        findings = lint(out / main, target)
        _refuse_broken(findings)
        verdict = _judge(settings, gpu, out)
        judged = {file: _judge_beside(file, settings, gpu, out) for file in models.beside[:1]}
        settings = replace(settings, int8_layers=tuple(name for name in names if name not in verdict.in_float(names)))
        files = (*models.main, *models.beside, *_write_beside(settings, findings, verdict, names, judged, out))
        macs, parameters = count(out / main)
        total_bytes = sum((out / file).stat().st_size for file in models.main)
        covered = _covered(coverage, verdict, names)
        remarks = (*models.remarks, *_of_batch(state, notes), *_refused(judged), *_remarks(verdict, files, bool(names)))
        return Emitted(main, files, total_bytes, macs, parameters, covered, remarks=remarks)


def _gpu(target: Target) -> Gpu:
    """The target's GPU. StepError where it has none."""
    if target.gpu is None:
        raise StepError(f"tensorrt: {target.name} has no part gpu, which says for which GPU to build")
    return target.gpu


def _judge(settings: Settings, gpu: Gpu, out: Path) -> Verdict:
    """What TensorRT for RTX says. StepError where it is the target's own and refuses the model."""
    is_own = gpu.runtime_line == "tensorrt-rtx" and stand_in(gpu) == gpu.compute_capability
    asked = replace(settings, build_for=stand_in(gpu))
    found = ask(asked, out, out / ENGINE if is_own else None)
    if is_own and found.refusals and not found.is_built:
        raise StepError(f"tensorrt: {found.place}, refuses the model: {_told(found)}")
    return found


def _judge_beside(file: str, settings: Settings, gpu: Gpu, out: Path) -> Verdict:
    """What TensorRT for RTX says of the model that lies beside the artifact's own."""
    return ask(replace(settings, model=file, int8_layers=(), build_for=stand_in(gpu)), out)


def _refused(judged: Mapping[str, Verdict]) -> tuple[str, ...]:
    """A remark for each model beside the artifact's own of which no engine can be built."""
    refused = [(file, each) for file, each in judged.items() if not each.is_built and not each.absent]
    return tuple(f"{each.place}, builds nothing of {file}: {_told(each)}" for file, each in refused)


def _told(verdict: Verdict) -> str:
    told = [f"{each.layer or 'the network'}: {explain(each.message)}" for each in verdict.refusals]
    return verdict.crash or "; ".join(told) or "it gave no reason"


def _refuse_broken(findings: tuple[Finding, ...]) -> None:
    """StepError where TensorRT would refuse the model or compute other numbers, by the rules."""
    told = [f"{each.layer}: {each.message}" for each in findings if each.severity in ("refused", "wrong numbers")]
    if told:
        raise StepError(f"tensorrt: the emitted model breaks its rules: {'; '.join(told)}")


def _write_beside(
    settings: Settings,
    findings: tuple[Finding, ...],
    verdict: Verdict,
    names: tuple[str, ...],
    judged: Mapping[str, Verdict],
    out: Path,
) -> tuple[str, ...]:
    """engine.json, verdict.json, build_engine.py and README.md lie in `out`; the names of all, an engine too."""
    written = settings.write(out)
    document = {
        "schema": 1,
        "model": settings.model,
        "compute_capability": settings.compute_capability,
        "linter": [asdict(each) for each in findings],
        "int8_wanted": names,
        "builder": {**asdict(verdict), "in_float": verdict.in_float(names)},
        "beside": {file: asdict(each) for file, each in judged.items()},
    }
    (out / VERDICT).write_text(json.dumps(document, indent=1) + "\n")
    shutil.copyfile(STANDALONE, out / SCRIPT)
    engine = (ENGINE,) if (out / ENGINE).is_file() else ()
    told = readme.write(settings, "".join(engine), "".join(judged), out)
    return (written.name, VERDICT, SCRIPT, told, *engine)


def _covered(coverage: Coverage, verdict: Verdict, names: tuple[str, ...]) -> Coverage:
    """The graph's coverage, less what the builder runs in float all the same."""
    floats = tuple((name, f"{verdict.place}, runs it in float") for name in verdict.in_float(names))
    return replace(coverage, quantized=coverage.quantized - len(floats), left=(*coverage.left, *floats))


def _of_batch(state: ModelState, notes: ModelNotes) -> tuple[str, ...]:
    """How many samples the engine takes at once, where the recipe leaves that open."""
    if all(spec.batch is not None for spec in state.inputs):
        return ()
    batch = notes.batch
    return (f"the engine takes {batch.least} to {batch.most} samples at once and is built to be fast at {batch.best}",)


def _remarks(verdict: Verdict, files: tuple[str, ...], is_quantized: bool) -> tuple[str, ...]:
    """Who judged the model, where the INT8 coverage comes from, and what has not been run."""
    counted = "; layers in INT8 are counted on the graph" if is_quantized else ""
    if verdict.absent:
        said = f"neither NVIDIA's parser nor its builder was asked ({verdict.absent}){counted}"
    elif verdict.crash:
        said = f"{verdict.place}, gave no verdict: {verdict.crash}{counted}"
    elif verdict.is_built:
        said = f"{verdict.place}, builds it"
        said += "; layers in INT8 are those that it runs in INT8, by its own log" if is_quantized else ""
    else:
        said = f"{verdict.place}, refuses the model: {_told(verdict)}{counted}"
    built = (BUILT_NEVER_RUN,) if ENGINE in files else ()
    return (said, f"build the engine on the device: python {SCRIPT}", *built)
