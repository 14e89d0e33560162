"""README.md of an artifact: how its engine is built on the device, in a few lines."""

from __future__ import annotations

from pathlib import Path

from .settings import Settings

FILE = "README.md"


def write(settings: Settings, engine: str, beside: str, folder: Path) -> str:
    """The file lies in `folder`; its name. `engine` is the file of an engine that was built, or empty.

    `beside` is a model of the same network in float16, or empty.
    """
    (folder / FILE).write_text(_text(settings, engine, beside))
    return FILE


def _text(settings: Settings, engine: str, beside: str) -> str:
    who, tool = (
        ("TensorRT for RTX", "tensorrt_rtx")
        if settings.runtime_line == "tensorrt-rtx"
        else ("TensorRT 10 or 11", "trtexec")
    )
    lines = [
        f"# An engine for compute capability {settings.compute_capability}",
        "",
        f"`{settings.model}` is what the engine is built of, on the device, with {who}:",
        "",
        "    python build_engine.py",
        "",
        "It writes `model.engine`, tells how many layers run in INT8 and fails where they are fewer than `engine.json`",
        "says. Shapes (smallest, best, largest) stand there too. The same with NVIDIA's own tool:",
        "",
        f"    {' '.join([tool, *_options(settings, tool)])}",
        "",
    ]
    if tool == "trtexec":
        lines += ["From TensorRT 11 on every network is strongly typed: leave `--stronglyTyped` out there.", ""]
    if beside:
        fresh = beside.replace(".onnx", ".engine")
        lines += [
            f"`{beside}` is the same network in float16 throughout, to compare with:",
            "",
            f"    python build_engine.py --model {beside} --out {fresh}",
            "",
        ]
    if engine:
        lines += [f"`{engine}` was built where no such GPU was, and has never been run.", ""]
    lines += ["`verdict.json` holds what is known of the model before it runs; `golden/` inputs and the right outputs."]
    return "\n".join(lines) + "\n"


def _options(settings: Settings, tool: str) -> list[str]:
    options = [f"--onnx={settings.model}", "--saveEngine=model.engine"]
    if tool == "trtexec":
        options += [
            "--stronglyTyped",
            "--profilingVerbosity=detailed",
            f"--timingCacheFile={settings.model}.timing-cache",
        ]
    if settings.sparse:
        options.append("--sparsity=enable")
    if any(shape["min"] != shape["max"] for shape in settings.shapes.values()):
        for key in ("min", "opt", "max"):
            shapes = (f"{name}:{'x'.join(map(str, shape[key]))}" for name, shape in settings.shapes.items())
            options.append(f"--{key}Shapes={','.join(shapes)}")
    return options
