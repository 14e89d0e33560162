"""Which ways of an artifact are timed, in which turns, and what is refused before anything runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from edgewright.ir.errors import InputError
from edgewright.pipeline.ways import Asked, pairs, ways
from edgewright.ship import manifest


def names(groups: Any) -> list[list[str]]:
    return [[way.name for way in group] for group in groups]


def test_an_artifact_is_timed_as_it_is_where_nothing_is_asked(built: Any) -> None:
    ((way,),) = ways(built.artifact, None, Asked())
    assert (way.name, way.file, way.options) == ("artifact", "model.onnx", {})
    assert names(ways(built.artifact, built.artifact / "baseline", Asked())) == [["against", "artifact"]]


def test_an_engine_is_timed_with_a_graph_and_without(built_tensorrt: Path) -> None:
    plain, graph = ways(built_tensorrt, None, Asked())[0]
    assert (plain.options, graph.options) == ({}, {"cuda_graph": True})
    assert list(pairs([plain, graph])) == [(plain, graph)]
    assert names(ways(built_tensorrt, None, Asked(cuda_graph=True))) == [["artifact, CUDA graph"]]
    assert names(ways(built_tensorrt, built_tensorrt / "baseline", Asked())) == [["against", "artifact"]]


def test_batches_are_groups_of_their_own(built_tensorrt: Path) -> None:
    found = ways(built_tensorrt, None, Asked(batches=(1, 16), cuda_graph=False, events=True))
    assert names(found) == [["artifact, batch 1"], ["artifact, batch 16"]]
    assert found[1][0].options == {"batch": 16, "events": True}


def test_precisions_stand_side_by_side_from_the_widest(built_tensorrt: Path) -> None:
    """A model that the artifact has itself takes the place of its baseline's."""
    (group,) = ways(built_tensorrt, None, Asked(precisions=True))
    wide, half, int8 = group[:3]
    assert [way.precision.split()[0] for way in group] == ["fp32", "fp16", "int8"] * 2
    assert (wide.name, wide.folder, wide.file) == ("fp32 (baseline)", built_tensorrt / "baseline", "model.fp32.onnx")
    assert (half.folder / half.file).is_file()
    assert (int8.folder, int8.file) == (built_tensorrt, "model.int8.onnx")
    assert [(base.name, other.name) for base, other in pairs(group) if not other.has_graph] == [
        (wide.name, half.name),
        (wide.name, "int8"),
    ]
    with_graph = [(base.name, other.name) for base, other in pairs(group) if other is group[5]]
    assert with_graph == [("int8", "int8, CUDA graph"), (f"{wide.name}, CUDA graph", "int8, CUDA graph")]


def test_what_a_runtime_does_not_take_is_refused_with_what_it_takes(
    built: Any, built_tflite: Path, built_tensorrt: Path
) -> None:
    with pytest.raises(InputError) as refused:
        ways(built.artifact, None, Asked(batches=(1, 4), cuda_graph=True, events=True))
    text = str(refused.value)
    assert "bench: expected what an artifact for onnxruntime takes: no such option, got --cuda-graph" in text
    assert "got --events" in text
    assert "--batch: expected 1, for which the artifact was built (a word in its place in model.inputs leaves" in text
    with pytest.raises(InputError, match=r"artifact for tflite takes: no such option, got --events"):
        ways(built_tflite, None, Asked(events=True))
    assert ways(built_tflite, None, Asked(batches=(1,)))[0][0].options == {}
    with pytest.raises(
        InputError, match=r"--batch: expected 1 to 16, the range of the engine \(engine.json\), got 0, 17"
    ):
        ways(built_tensorrt, None, Asked(batches=(0, 1, 16, 17)))


def test_precisions_need_models_of_several(built: Any, built_tensorrt: Path) -> None:
    with pytest.raises(
        InputError, match=r"--precisions: expected an artifact with models .* got one of onnxruntime; --ag"
    ):
        ways(built.artifact, None, Asked(precisions=True))
    with pytest.raises(InputError, match=r"bench: --precisions: expected one artifact, .* got --against"):
        ways(built_tensorrt, built_tensorrt / "baseline", Asked(precisions=True))


def test_a_baseline_is_as_untrusted_as_its_artifact(built_tensorrt: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(built_tensorrt, tmp_path / "artifact"))
    (copy / "baseline" / "model.fp32.onnx").write_bytes(b"something else")
    assert manifest.FILE in {path.name for path in copy.iterdir()}
    with pytest.raises(InputError, match=r"files\.model\.fp32\.onnx: expected SHA-256"):
        ways(copy, None, Asked(precisions=True))
