"""What NVIDIA's own parser and builder make of a model, where TensorRT for RTX is installed; no GPU is needed.

They run in a process of their own (devices/agent/build_engine.py), so that what crashes there is a finding here.
"""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...devices import local
from .settings import Settings

SCRIPT = local.AGENT / "build_engine.py"
LIBRARY, PACKAGES = "tensorrt_rtx_bindings", ("tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu13-libs")
HOW = "pip install 'edgewright[nvidia-rtx]'"
TIMEOUT_SECONDS = 600.0


@dataclass(frozen=True)
class Refusal:
    """What parser or builder had against one layer of the model; no layer where it is none's fault."""

    layer: str
    operator: str
    message: str


@dataclass(frozen=True)
class Verdict:
    """What became of the model. `int8` are the layers that the engine runs in INT8.

    `built_for` is the compute capability that was asked about, `stands_for` the target's, where that is another.
    `crash` says how the process died; `absent` what would have to be installed to know anything.
    """

    built_for: str = ""
    stands_for: str = ""
    version: str = ""
    is_parsed: bool = False
    is_built: bool = False
    refusals: tuple[Refusal, ...] = ()
    int8: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    engine_bytes: int = 0
    crash: str = ""
    absent: str = ""

    @property
    def place(self) -> str:
        """Who judged, and for which GPU, for a sentence."""
        where = f"compute capability {self.built_for}"
        return f"TensorRT for RTX {self.version}, for {where}" + (
            f" in place of {self.stands_for}, which it does not know" if self.stands_for else ""
        )

    def in_float(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """The layers of an engine that were wanted in INT8 and run in float."""
        return tuple(name for name in wanted if name not in self.int8) if self.is_built else ()


def is_installed() -> bool:
    """Whether the parser and the builder can be asked."""
    return importlib.util.find_spec(LIBRARY) is not None


def ask(settings: Settings, folder: Path, engine: Path | None = None) -> Verdict:
    """The verdict on the model of these settings, which lies in `folder`; the engine lies at `engine` if it was built.

    Nothing is judged where the settings' `build_for` is empty.
    """
    if not is_installed():
        return Verdict(absent=HOW)
    if not settings.build_for:
        return Verdict(
            absent=f"TensorRT {settings.runtime_line.partition('-')[2]} on the device: no parser here is its"
        )
    stands_for = settings.compute_capability if settings.compute_capability != settings.build_for else ""
    asked = Verdict(built_for=settings.build_for, stands_for=stands_for)
    with tempfile.TemporaryDirectory(prefix="edgewright-tensorrt-") as scratch:
        file, report = settings.write(Path(scratch)), Path(scratch) / "report.json"
        files = {"--settings": file, "--report": report, "--model": folder / settings.model}
        files["--out"] = engine or Path(scratch) / "model.engine"
        given = [str(word) for pair in files.items() for word in pair]
        command = [sys.executable, "-P", str(SCRIPT), "--library", LIBRARY, *given]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            return replace(asked, crash=f"it was not done after {TIMEOUT_SECONDS:g} s")
        if not report.is_file():
            return replace(asked, crash=_death(done.returncode, done.stderr))
        return _read(asked, json.loads(report.read_text()))


def _death(code: int, said: str) -> str:
    """How the process ended, with the last that it said."""
    last = (said.strip().splitlines() or ["it said nothing"])[-1]
    how = f"it died of {signal.Signals(-code).name}" if code < 0 else f"it ended with {code}"
    return f"{how}: {last}"


def _read(asked: Verdict, report: dict[str, Any]) -> Verdict:
    refusals = [Refusal(each["layer"], each["operator"], each["message"]) for each in report["problems"]]
    return replace(
        asked,
        version=report["version"],
        is_parsed=report["parsed"],
        is_built=report["built"],
        refusals=tuple(refusals),
        int8=tuple(report["int8"]),
        warnings=tuple(report["warnings"]),
        engine_bytes=report["engine_bytes"],
    )
