"""Profiles are strict data: what they inherit, what is refused, and that all of it is said at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from edgewright.ir.errors import InputError
from edgewright.targets import Target, builtin_names, load_target, matching, own_names, to_yaml
from pydantic import ValidationError

WHOLE = """
name: {name}
summary: a whole profile
runtime: onnxruntime
isa: {{architecture: x86_64, flags: [avx2, fma], source: the vendor's manual}}
quantization:
  int8_static:
    activations: uint8
    symmetric_activations: false
    weight_bits: 8
    weight_granularity: per-channel
    bias: int32
    kernels: [conv2d]
    float_outputs: []
    same_scale: [flatten]
    fused_activations: [relu]
    source: measured on the board
pruning: {{channel_multiple: 8, source: measured on the board}}
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a profile below the folder; `text` is the whole of it."""

    def write_file(text: str, name: str = "board.yaml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write_file


@pytest.fixture
def whole(write: Write) -> Path:
    """A profile that extends nothing: base.yaml."""
    return write(WHOLE.format(name="base"), "base.yaml")


def messages(name_or_path: Path | str, folder: Path) -> list[str]:
    """Each problem of a profile, without the folder that it lies in."""
    with pytest.raises(InputError) as caught:
        load_target(str(name_or_path), folder)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


@pytest.mark.parametrize("name", builtin_names())
def test_a_resolved_profile_reads_back_as_the_same_target(name: str, write: Write) -> None:
    target = load_target(name, Path("/"))
    assert load_target(str(write(to_yaml(target)))) == target


def test_a_profile_reads_back_with_text_that_yaml_would_mistake(whole: Path, write: Write) -> None:
    """`off`, `2:4`, `1e-3` and a colon are text in `summary`, and stay it."""
    for summary in ("off", "2:4", "1e-3", "a: b", "# no comment", "'", "12", "null", "~", ""):
        target = load_target(str(whole)).model_copy(update={"summary": summary})
        assert load_target(str(write(to_yaml(target)))) == target


def test_targets_are_frozen(whole: Path) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_target(str(whole)).threads = 2  # type: ignore[misc]


def test_what_is_left_out_is_not_supported_or_has_its_default(write: Write) -> None:
    text = "name: bare\nsummary: s\nruntime: onnxruntime\nisa: {architecture: x86_64, flags: [], source: the manual}\n"
    target = load_target(str(write(text)))
    assert (target.threads, target.hardware, target.pruning) == (1, None, None)
    assert target.quantization.int8_static is None


def test_extends_lays_mappings_over_and_replaces_lists_and_values(whole: Path, write: Write) -> None:
    child = """
name: child
summary: its own words
extends: ./base.yaml
threads: 2
isa: {flags: [avx2], source: another manual}
quantization: {int8_static: {weight_bits: 7, source: another measurement}}
"""
    base, target = load_target(str(whole)), load_target(str(write(child)))
    assert (target.name, target.summary, target.threads) == ("child", "its own words", 2)
    assert target.isa.flags == ("avx2",)
    assert target.isa.architecture == base.isa.architecture
    assert target.quantization.int8_static is not None
    assert target.quantization.int8_static.weight_bits == 7
    assert target.quantization.int8_static.kernels == ("conv2d",)
    assert target.pruning == base.pruning


def test_what_extends_passes_on_reaches_the_grandchild(whole: Path, write: Write) -> None:
    write("name: child\nsummary: s\nextends: ./base.yaml\nthreads: 2\n", "inner/../child.yaml")
    target = load_target(str(write("name: last\nsummary: s\nextends: ../child.yaml\n", "deeper/last.yaml")))
    assert target.threads == 2
    assert target.pruning is not None


@pytest.mark.parametrize("key", ["pruning", "quantization", "threads"])
def test_null_takes_a_key_away(whole: Path, write: Write, key: str) -> None:
    write(f"{WHOLE.format(name='base')}threads: 3\n", "base.yaml")
    target = load_target(str(write(f"name: child\nsummary: s\nextends: ./base.yaml\n{key}: null\n")))
    assert getattr(target, key) == Target.model_fields[key].default
    assert getattr(target, key) != getattr(load_target(str(whole)), key)


def test_null_takes_one_mode_away_and_needs_no_source(whole: Path, write: Write) -> None:
    target = load_target(
        str(write("name: child\nsummary: s\nextends: ./base.yaml\nquantization: {int8_static: null}\n"))
    )
    assert target.quantization.int8_static is None


def test_null_for_what_every_profile_needs_is_a_missing_key(whole: Path, write: Write, tmp_path: Path) -> None:
    path = write("name: child\nsummary: s\nextends: ./base.yaml\nisa: null\n")
    assert messages(path, tmp_path) == ["board.yaml: isa: expected a value, got nothing: the key is missing"]


def test_a_profile_says_its_own_name_and_summary(whole: Path, write: Write, tmp_path: Path) -> None:
    assert messages(write("extends: ./base.yaml\n"), tmp_path) == [
        "board.yaml: name: expected a value, got nothing: the key is missing",
        "board.yaml: summary: expected a value, got nothing: the key is missing",
    ]


def test_a_changed_value_needs_a_source_of_its_own(whole: Path, write: Write, tmp_path: Path) -> None:
    child = """
name: child
summary: s
extends: ./base.yaml
isa: {flags: [avx2]}
quantization: {int8_static: {weight_bits: 7, bias: float32}}
pruning: {channel_multiple: 4, source: measured again}
"""
    only = "only the source of what this extends, which does not speak of"
    assert messages(write(child), tmp_path) == [
        f"board.yaml: isa.source: expected where the changed values come from, got {only} flags",
        f"board.yaml: quantization.int8_static.source: expected where the changed values come from, "
        f"got {only} weight_bits, bias",
    ]


def test_all_problems_of_a_file_are_said_at_once(write: Write, tmp_path: Path) -> None:
    text = """
name: My_Board
summary: 3
runtime: onnxrutime
isa: {architecture: arm64, flags: avx2, flags: [avx2, 1]}
threads: 0
hardwear: {}
quantization:
  int8_static:
    activations: uint4
    symmetric_activations: off
    weight_bits: 2:4
    weight_granularity: per-chanel
    bias: int32
    kernels: [conv2d]
    float_outputs: []
    same_scale: []
    source: short
pruning: {channel_multiple: 1e-3, source: measured on the board}
threads: 1.5
"""
    assert sorted(messages(write(text), tmp_path)) == sorted(
        [
            "board.yaml: isa.flags: expected each key once, got it again in line 5",
            "board.yaml: threads: expected each key once, got it again in line 20",
            "board.yaml: name: expected text of the form ^[a-z0-9][a-z0-9.-]*$, got 'My_Board'",
            "board.yaml: summary: expected text, got 3",
            "board.yaml: runtime: expected 'onnxruntime', 'tflite' or 'tensorrt', got 'onnxrutime'",
            "board.yaml: isa.source: expected a value, got nothing: the key is missing",
            "board.yaml: isa.architecture: expected 'x86_64', 'aarch64' or 'armv7e-m', got 'arm64'",
            "board.yaml: isa.flags.1: expected text, got 1",
            "board.yaml: threads: expected a valid integer, got 1.5",
            "board.yaml: hardwear: expected one of the keys delegates, gpu, hardware, isa, micro, name,"
            " pruning, quantization, runtime, summary, threads, got an unknown key (did you mean 'hardware'?)",
            "board.yaml: quantization.int8_static.activations: expected 'uint8', 'int8' or 'int16', got 'uint4'",
            "board.yaml: quantization.int8_static.symmetric_activations: expected true or false, got 'off'",
            "board.yaml: quantization.int8_static.weight_bits: expected a valid integer, got '2:4'",
            "board.yaml: quantization.int8_static.weight_granularity: expected 'per-channel' or 'per-tensor',"
            " got 'per-chanel'",
            "board.yaml: quantization.int8_static.fused_activations: expected a value, got nothing: the key is missing",
            "board.yaml: quantization.int8_static.source: expected text of 8 characters or more, got 'short'",
            "board.yaml: pruning.channel_multiple: expected a valid integer, got 0.001",
        ]
    )


def test_problems_of_inherited_values_name_the_file_that_they_stand_in(write: Write, tmp_path: Path) -> None:
    write(WHOLE.format(name="base").replace("weight_bits: 8", "weight_bits: 9\n    bits: 8"), "base.yaml")
    child = (
        "name: child\nsummary: s\nextends: ./base.yaml\nthreads: many\nthreads: few\npruning: {source: a datasheet}\n"
    )
    found = messages(write(child), tmp_path)
    assert found[0] == "board.yaml: threads: expected each key once, got it again in line 5"
    assert "board.yaml: threads: expected a valid integer, got 'few'" in found
    assert "base.yaml: quantization.int8_static.weight_bits: expected less than or equal to 8, got 9" in found
    assert any(message.startswith("base.yaml: quantization.int8_static.bits: expected one of") for message in found)
    assert len(found) == 4


def test_what_is_wrong_in_the_base_is_said_beside_what_is_wrong_in_the_child(write: Write, tmp_path: Path) -> None:
    write(f"{WHOLE.format(name='base')}threads: 1\nthreads: 2\n", "base.yaml")
    found = messages(write("name: child\nsummary: s\nextends: ./base.yaml\nisa: {flags: []}\n"), tmp_path)
    assert [message.partition(": expected")[0] for message in found] == ["base.yaml: threads", "board.yaml: isa.source"]


@pytest.mark.parametrize("value", ["[base]", "3", "{a: b}", "true"])
def test_extends_is_one_name_or_path(write: Write, tmp_path: Path, value: str) -> None:
    found = messages(write(f"name: child\nsummary: s\nextends: {value}\n"), tmp_path)
    assert found[0].startswith("board.yaml: extends: expected the name or the path of one profile, got")


def test_a_circle_of_extends_is_shown(write: Write, tmp_path: Path) -> None:
    for name, parent in (("a", "b"), ("b", "c"), ("c", "b")):
        write(f"name: {name}\nsummary: s\nextends: ./{parent}.yaml\n", f"{name}.yaml")
    assert messages(tmp_path / "a.yaml", tmp_path) == [
        "b.yaml: extends: expected a profile that does not lead back here, got b.yaml -> c.yaml -> b.yaml"
    ]
    write("name: own\nsummary: s\nextends: own\n", "targets/own.yaml")
    assert "targets/own.yaml -> targets/own.yaml" in messages("own", tmp_path)[0]


def test_what_is_extended_and_not_there_is_said_with_who_asks(write: Write, tmp_path: Path) -> None:
    child = "name: child\nsummary: s\nextends: {}\n"
    assert messages(write(child.format("./none.yaml")), tmp_path) == [
        "none.yaml: expected a readable file, got no such file or directory"
    ]
    (message,) = messages(write(child.format("x86-avx3")), tmp_path)
    assert message.startswith(f"board.yaml: extends: expected one of {', '.join(builtin_names())}, or the")
    assert message.endswith("got 'x86-avx3' (did you mean 'x86-avx2'?)")


def test_host_is_no_profile_to_extend(write: Write, tmp_path: Path) -> None:
    (message,) = messages(write("name: child\nsummary: s\nextends: host\n"), tmp_path)
    assert "host" not in message.partition(", got ")[0]


@pytest.mark.parametrize("text", ["a: [1", "- a", "", "\tname: a"])
def test_what_is_no_mapping_is_refused_with_the_files_name(write: Write, tmp_path: Path, text: str) -> None:
    (message,) = messages(write(text), tmp_path)
    assert message.startswith("board.yaml: ")


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    assert messages("./none.yaml", tmp_path) == ["none.yaml: expected a readable file, got no such file or directory"]


def test_an_unknown_name_is_said_with_all_that_there_are(write: Write, tmp_path: Path) -> None:
    write(WHOLE.format(name="my-board"), "targets/my-board.yaml")
    (message,) = messages("my-bord", tmp_path)
    known = ", ".join([*builtin_names(), "my-board", "host"])
    assert message == (
        f"target: expected one of {known}, or the path of a .yaml profile, got 'my-bord' (did you mean 'my-board'?)"
    )


def test_a_path_may_be_absolute_relative_or_in_the_home_folder(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    paths = [str(whole), "base.yaml", "./base.yaml", "~/base.yaml"]
    assert [load_target(path, tmp_path).name for path in paths] == ["base"] * len(paths)
    monkeypatch.chdir(tmp_path)
    assert load_target("base.yaml").name == "base"


def test_own_profiles_lie_in_the_folder_targets_and_are_found_by_name(write: Write, tmp_path: Path) -> None:
    write(WHOLE.format(name="mine"), "targets/mine.yaml")
    write("no profile", "targets/notes.txt")
    assert own_names(tmp_path) == ("mine",)
    assert load_target("mine", tmp_path).name == "mine"
    assert own_names(tmp_path / "elsewhere") == ()


def test_own_profiles_extend_built_in_ones_and_each_other_by_name(write: Write, tmp_path: Path) -> None:
    write("name: mine\nsummary: s\nextends: x86-avx2\nthreads: 2\n", "targets/mine.yaml")
    path = write("name: other\nsummary: s\nextends: mine\n", "targets/other.yaml")
    for name in ("other", str(path), "./targets/other.yaml"):
        assert load_target(name, tmp_path).threads == 2
    beside = write("name: beside\nsummary: s\nextends: mine\n", "beside.yaml")
    assert load_target(str(beside), Path("/")).threads == 2


def test_an_own_profile_is_called_like_its_file(write: Write, tmp_path: Path) -> None:
    write(WHOLE.format(name="mine"), "targets/other.yaml")
    assert messages("other", tmp_path) == [
        "targets/other.yaml: name: expected 'other', as the file is called, got 'mine'"
    ]


def test_an_own_profile_with_a_built_in_name_is_refused_but_found_by_its_path(write: Write, tmp_path: Path) -> None:
    path = write(WHOLE.format(name="x86-avx2"), "targets/x86-avx2.yaml")
    assert messages("x86-avx2", tmp_path) == [
        "target: x86-avx2: expected one profile called 'x86-avx2'; rename yours or ask for it by its path,"
        " got a built-in one and targets/x86-avx2.yaml"
    ]
    assert load_target(str(path)).summary == "a whole profile"
    assert own_names(tmp_path) == ()


def test_a_copy_of_a_built_in_profile_clashes_with_nothing(write: Write, tmp_path: Path) -> None:
    import edgewright.targets

    shipped = Path(edgewright.targets.__file__).with_name("x86-avx2.yaml")
    write(shipped.read_text(), "targets/x86-avx2.yaml")
    assert load_target("x86-avx2", tmp_path) == load_target("x86-avx2", Path("/"))


def of(architecture: str) -> list[Target]:
    """The built-in profiles of processors of that architecture."""
    every = (load_target(name, Path("/")) for name in builtin_names())
    return [target for target in every if target.isa.architecture == architecture and target.gpu is None]


def test_matching_takes_the_profile_that_asks_for_most() -> None:
    for architecture in ("x86_64", "aarch64"):
        for target in of(architecture):
            for flags in (target.isa.flags, (*target.isa.flags, "avx", "sse4_2")):
                assert matching(architecture, frozenset(flags)).isa.flags == target.isa.flags
    everything = frozenset(flag for target in of("x86_64") for flag in target.isa.flags)
    assert matching("x86_64", everything).name == "x86-avx512-vnni"
    assert matching("aarch64", everything | {"fp", "asimd", "asimddp"}).name == "arm64-cortex-a76"


def test_matching_takes_no_profile_of_a_gpu() -> None:
    with pytest.raises(InputError) as caught:
        matching("x86_64", frozenset())
    assert "nvidia" not in str(caught.value)


def test_matching_says_for_each_profile_what_is_missing() -> None:
    with pytest.raises(InputError) as caught:
        matching("x86_64", frozenset({"avx2"}))
    message = str(caught.value)
    assert message.startswith("host: isa.flags: expected the instruction set of one of the profiles, got a CPU without")
    for target in of("x86_64"):
        missing = set(target.isa.flags) - {"avx2"}
        assert f"{target.name} needs {' '.join(sorted(missing))}" in message


def test_matching_says_which_architectures_have_profiles() -> None:
    with pytest.raises(InputError, match="expected aarch64 or armv7e-m or x86_64, got riscv64"):
        matching("riscv64", frozenset())


def test_everything_that_a_target_says_is_in_its_yaml(whole: Path) -> None:
    target = load_target(str(whole))

    def leaves(document: Any) -> list[Any]:
        values = document.values() if isinstance(document, dict) else document
        return [leaf for value in values for leaf in (leaves(value) if isinstance(value, dict | list) else [value])]

    assert sorted(map(str, leaves(yaml.safe_load(to_yaml(target))))) == sorted(
        map(str, leaves(target.model_dump(mode="json", exclude_none=True)))
    )


def test_reading_profiles_imports_neither_torch_nor_numpy() -> None:
    code = (
        "import sys; from edgewright.targets import load_target; load_target('x86-avx2');"
        "sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
