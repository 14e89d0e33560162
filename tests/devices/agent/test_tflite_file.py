"""What a .tflite file says of itself, and how one that is cut short is told from a whole one."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgewright.devices.agent import tflite_file
from edgewright.devices.agent.contract import AgentError

STEPS_OF_A_CUT = 97


def test_names_come_from_the_signature_and_values_in_the_order_of_execution(tflite_artifact: Path) -> None:
    found = tflite_file.read(str(tflite_artifact))
    (signature,) = found.signatures
    assert [name for name, _ in signature.inputs] == ["image"]
    assert [name for name, _ in signature.outputs] == ["output"]
    assert signature.outputs[0][1] == found.computed[-1]


def test_a_file_that_was_cut_short_is_refused_wherever_the_cut_is(tflite_artifact: Path, tmp_path: Path) -> None:
    """The labels in a zip archive behind the model are no part of what an interpreter reads."""
    content, cut = tflite_artifact.read_bytes(), tmp_path / "cut.tflite"
    content = content[: content.index(b"PK\x03\x04")]
    for length in range(0, len(content) - 16, STEPS_OF_A_CUT):
        cut.write_bytes(content[:length])
        with pytest.raises(AgentError, match=r"expected a (whole )?TFLite file"):
            tflite_file.read(str(cut))


def test_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\x08\x0a\x12\x0aedgewright")
    with pytest.raises(AgentError, match="'TFL3' as bytes 4 to 8"):
        tflite_file.read(str(tmp_path / "model.onnx"))
