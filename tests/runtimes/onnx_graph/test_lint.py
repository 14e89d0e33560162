"""Which rules a target's models are held against."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgewright.ir.errors import InputError
from edgewright.runtimes.onnx_graph.lint import lint
from edgewright.targets import load_target


@pytest.mark.parametrize("target", ["x86-avx2", "nvidia-rtx-ada"])
def test_every_runtime_with_rules_reads_the_file(target: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="an ONNX model that can be read"):
        lint(tmp_path / "missing.onnx", load_target(target))
