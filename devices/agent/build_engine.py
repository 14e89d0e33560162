"""Builds a TensorRT engine from an ONNX model, and tells which of its layers run in INT8.

    python build_engine.py                          what engine.json beside this file says
    python build_engine.py --model model.fp16.onnx --out model.fp16.engine
    python build_engine.py --report report.json     what parser and builder said, as JSON

It stands alone: Python 3.8 or later and TensorRT 10 or 11 (or TensorRT for RTX), and only what all of them have. The
network is strongly typed: each tensor has the type that the ONNX model gives it. Exit codes: 0 an engine lies there;
1 the parser or the builder refused, or fewer layers run in INT8 than engine.json says; 2 the input is wrong, or
TensorRT is missing.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import sys
import time
from typing import Any

LIBRARIES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
"""The modules that may hold TensorRT, best first; the second and third are TensorRT for RTX."""
SETTINGS = "engine.json"
WORKSPACE_BYTES = 1 << 30
_LAYER = re.compile(
    r"^Name: (?P<name>.*?), LayerType: (?P<kind>\w+), Inputs: \[(?P<inputs>.*?)\], Constants: \[(?P<constants>.*?)\], "
    r"Outputs: \[.*Metadata: (?P<onnx>.*)$"
)
_DATATYPE, _ONNX = re.compile(r"Datatype: (\w+)"), re.compile(r"\[ONNX Layer: ([^\]]*)\]")
_PRODUCTS = ("correlation", "conv", "gemm", "matmul", "matrixmultiply")
"""What the kinds of layers contain that compute products with weights; a kgen is code around them."""
_REASONS = (
    (
        r"driver version is insufficient|error: 35|cudaError 35\b|no CUDA-capable device|error: 100\b",
        "there is no NVIDIA driver here, or it is too old for this TensorRT; `nvidia-smi` tells which it is",
    ),
    (r"out of memory|OutOfMemory|cudaError 2\b", "the GPU has too little memory left for it"),
    (
        r"incompatible device|expecting compute|different models of devices|UNSUPPORTED_CC",
        "the engine was built for another GPU; build it on this one, with build_engine.py",
    ),
    (
        r"not compatible with this version|Version tag does not match|VERSION_MISMATCH|serializationVersion",
        "the engine was built by another version of TensorRT; build it with this one, with build_engine.py",
    ),
    (
        r"does not satisfy any optimization profile|not in the range|outside of the profile|out of range of profile",
        "the shapes are outside of the engine's profile; engine.json holds it",
    ),
    (
        r"No importer registered|Plugin not found|plugin creator|UNSUPPORTED_NODE|^false$",
        "TensorRT has no such operator; replace it in the model, or keep the layer for the CPU",
    ),
)


class BuildError(Exception):
    """No engine can be had, with a message for a person; `code` is the exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def explain(text: str) -> str:
    """What TensorRT's message means to a person, the message behind it; the message alone where that isn't known."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    told = [line for line in lines if "catchCudaError" not in line] or lines
    if len(told) > 1 and told[0].startswith("Invalid Node"):
        told = told[1:]
    first = told[0] if told else "TensorRT gave no reason"
    for pattern, meaning in _REASONS:
        if re.search(pattern, " ".join(told), re.IGNORECASE):
            return f"{meaning} ({first})"
    return first


def layers_of_log(lines: list[str]) -> list[dict[str, Any]]:
    """The engine's layers, as the builder's log tells them at the level VERBOSE with detailed profiling verbosity.

    `inputs` and `constants` are types of values; `onnx` the layers of the model that each one computes.
    """
    found = []
    for line in "\n".join(lines).splitlines():
        match = _LAYER.match(line)
        if match:
            types = {key: _DATATYPE.findall(match[key]) for key in ("inputs", "constants")}
            found.append({"name": match["name"], "kind": match["kind"], **types, "onnx": _ONNX.findall(match["onnx"])})
    return found


def layers_of_inspector(text: str) -> list[dict[str, Any]]:
    """The same, of what an engine's inspector tells as JSON; one that was built without details tells only names."""
    found = []
    for layer in json.loads(text)["Layers"]:
        if not isinstance(layer, dict):
            found.append({"name": str(layer), "kind": "", "inputs": [], "constants": [], "onnx": []})
            continue
        weights = [str(layer[key].get("Type", "")) for key in ("Weights",) if isinstance(layer.get(key), dict)]
        names = _ONNX.findall(layer.get("Metadata", "")) or layer["Name"].split(" + ")
        kind = f"{layer.get('LayerType', '')} {layer.get('ParameterType', '')}".strip()
        inputs = [_type_of(entry) for entry in layer.get("Inputs", [])]
        found.append({"name": layer["Name"], "kind": kind, "inputs": inputs, "constants": weights, "onnx": names})
    return found


def _type_of(tensor: dict[str, Any]) -> str:
    if "Datatype" in tensor:
        return str(tensor["Datatype"])
    told = re.search(r"Int8|FP16|Half|FP32|Float|BF16|FP8|Int32", str(tensor.get("Format/Datatype", "")), re.IGNORECASE)
    return told[0].capitalize() if told else ""


def int8_layers(layers: list[dict[str, Any]], candidates: list[str]) -> list[str]:
    """Those of the model's layers whose products the engine takes of int8 values, in its order."""
    found = []
    for layer in layers:
        is_product = any(word in layer["kind"].lower() for word in _PRODUCTS)
        if is_product and layer["inputs"][:1] == ["Int8"]:
            found += [name for name in layer["onnx"] if name in candidates and name not in found]
    return found


def library(name: str = "") -> Any:
    """TensorRT's module: that of this name, or the best that is there."""
    failures = []
    for module in (name,) if name else LIBRARIES:
        try:
            return importlib.import_module(module)
        except (ImportError, OSError, RuntimeError) as error:
            failures.append(f"{module}: {error}")
    how = "it comes with JetPack on a Jetson, otherwise with pip install tensorrt or tensorrt-rtx"
    raise BuildError(f"TensorRT is not installed for {sys.executable}: {how} ({'; '.join(failures)})", 2)


def make_logger(trt: Any, lines: list[tuple[str, str]]) -> Any:
    """A logger of TensorRT that keeps (severity, message) in `lines`."""

    class Kept(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            lines.append((severity.name, message))

    return Kept()


def build(trt: Any, model: str, settings: dict[str, Any], lines: list[tuple[str, str]], cache: str = "") -> Any:
    """(serialized engine or None, report): what parser and builder made of the model and said of it."""
    report: dict[str, Any] = {"library": trt.__name__, "version": trt.__version__, "parsed": False, "built": False}
    report.update(problems=[], layers=[], int8=[], engine_bytes=0)
    logger = make_logger(trt, lines)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    started = time.perf_counter()
    report["parsed"] = bool(parser.parse_from_file(model))
    engine = None
    if report["parsed"]:
        config = _config(trt, builder, network, settings, cache)
        engine = builder.build_serialized_network(network, config)
        if engine is not None and cache:
            with open(cache, "wb") as stream:
                stream.write(bytes(config.get_timing_cache().serialize()))
    else:
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        report["problems"] = [
            {"layer": each.node_name(), "operator": each.node_operator(), "message": each.desc()} for each in errors
        ]
    report["seconds"] = time.perf_counter() - started
    if engine is not None:
        report.update(built=True, engine_bytes=engine.nbytes)
        report["layers"] = layers_of_log([text for _, text in lines]) or _inspected(trt, logger, engine)
        report["int8"] = int8_layers(report["layers"], _products(trt, network))
    elif report["parsed"]:
        said = [text for severity, text in lines if severity in ("ERROR", "INTERNAL_ERROR")]
        report["problems"] = [{"layer": _layer_in(text), "operator": "", "message": text} for text in said]
    report["warnings"] = sorted({text for severity, text in lines if severity == "WARNING"})
    return engine, report


def _products(trt: Any, network: Any) -> list[str]:
    """The layers of the model that are products."""
    kinds = (trt.LayerType.CONVOLUTION, trt.LayerType.DECONVOLUTION, trt.LayerType.MATRIX_MULTIPLY)
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    return [name for each in layers if each.type in kinds for name in _ONNX.findall(each.metadata) or [each.name]]


def _layer_in(text: str) -> str:
    named = re.search(r"operation '([^']+)'|node (?:named )?'?([\w./]+)'?", text)
    return (named[1] or named[2] or "") if named else ""


def _config(trt: Any, builder: Any, network: Any, settings: dict[str, Any], cache: str) -> Any:
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    if not settings.get("tf32"):
        config.clear_flag(trt.BuilderFlag.TF32)
    if settings.get("sparse"):
        config.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)
    if settings.get("build_for"):  # TensorRT for RTX alone builds for a GPU that is not there
        config.num_compute_capabilities = 1
        known = trt.ComputeCapability.__members__
        name = "SM" + settings["build_for"].replace(".", "")
        if name not in known:
            raise BuildError(f"{trt.__name__} {trt.__version__} builds for {', '.join(known)}, not for {name}")
        config.set_compute_capability(known[name], 0)
    if cache:
        kept = b""
        if os.path.isfile(cache):
            with open(cache, "rb") as stream:
                kept = stream.read()
        config.set_timing_cache(config.create_timing_cache(kept), False)
    shapes = settings.get("shapes", {})
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    if any(-1 in tuple(entry.shape) for entry in inputs):
        profile = builder.create_optimization_profile()
        for entry in inputs:
            if entry.name not in shapes:
                raise BuildError(f"{SETTINGS}: shapes.{entry.name}: expected min, opt and max, found nothing", 2)
            profile.set_shape(entry.name, *(tuple(shapes[entry.name][key]) for key in ("min", "opt", "max")))
        config.add_optimization_profile(profile)
    return config


def _inspected(trt: Any, logger: Any, engine: Any) -> list[dict[str, Any]]:
    """The layers that the engine's inspector tells; none where this machine can't load the engine."""
    loaded = trt.Runtime(logger).deserialize_cuda_engine(engine)
    if loaded is None:
        return []
    return layers_of_inspector(loaded.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON))


def refusal(report: dict[str, Any], expected: list[str]) -> str:
    """Why there is no engine, or why it is not what was promised; empty where all is well."""
    if not report["built"]:
        who = f"{report['library']} {report['version']}"
        if not report["problems"]:
            return f"{who} built no engine and gave no reason"
        told = [f"{each['layer'] or 'the network'}: {explain(each['message'])}" for each in report["problems"]]
        return f"{who} refuses the model: " + "; ".join(told)
    lost = [name for name in expected if name not in report["int8"]]
    if not lost:
        return ""
    kept = len(expected) - len(lost)
    return f"{kept} of {len(expected)} layers run in INT8; these run in float: {', '.join(lost)}"


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    here = os.path.dirname(os.path.abspath(__file__))
    command = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    command.add_argument("--settings", default=os.path.join(here, SETTINGS), help="shapes, layers in INT8, the model")
    command.add_argument("--model", default="", help="the ONNX model (default: the settings')")
    command.add_argument("--out", default="", help="where the engine goes (default: model.engine beside the settings)")
    command.add_argument("--report", default="", help="where a JSON report goes")
    command.add_argument("--library", default="", help="the module that holds TensorRT (default: the best there is)")
    command.add_argument("--timing-cache", default="", help="a file that makes the next build on this device faster")
    return command.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """The exit code; the engine and the report lie where they were asked for."""
    given = _arguments(arguments)
    lines: list[tuple[str, str]] = []
    try:
        with open(given.settings) as stream:
            settings = json.load(stream)
        folder = os.path.dirname(os.path.abspath(given.settings))
        model = given.model or os.path.join(folder, settings["model"])
        if not os.path.isfile(model):
            raise BuildError(f"{model}: expected an ONNX model, found nothing there", 2)
        engine, report = build(library(given.library), model, settings, lines, given.timing_cache)
        expected = settings.get("int8_layers", []) if not given.model else []
        if engine is not None:
            with open(given.out or os.path.join(folder, "model.engine"), "wb") as out:
                out.write(bytes(engine))
        if given.report:
            with open(given.report, "w") as out:
                json.dump(report, out)
        reason = refusal(report, expected)
        if reason:
            raise BuildError(reason)
    except (OSError, ValueError, TypeError) as error:
        print(f"build_engine: {explain(' '.join([str(error), *(text for _, text in lines[-3:])]))}", file=sys.stderr)
        return 2
    except BuildError as error:
        print(f"build_engine: {error}", file=sys.stderr)
        return error.code
    print(f"{len(report['int8'])} layers in INT8; {report['engine_bytes']} bytes, built by {report['version']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
