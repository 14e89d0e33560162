"""Fingerprints are equal where nothing changed, known without importing anything, and differ where something did."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from edgewright.ir.errors import InputError
from edgewright.recipe.fingerprints import data_fingerprint, model_fingerprint
from edgewright.recipe.schema import load_recipe
from edgewright.recipe.source import build_model

RANDOM = """
    import torch
    class Noisy:
        def __len__(self):
            return 40
        def __getitem__(self, index):
            return torch.rand(3, 8, 8) if index in (5, 6) else torch.zeros(3, 8, 8), 0
        %s
    def splits():
        return {"train": Noisy(), "calibration": Noisy(), "evaluation": Noisy()}
"""
FRESH = (
    "import sys; from pathlib import Path\n"
    "from edgewright.recipe import fingerprints, schema\n"
    "recipe, memory = schema.load_recipe(Path(sys.argv[1])), Path(sys.argv[2])\n"
    "print(fingerprints.model_fingerprint(recipe, memory))\n"
    "print(fingerprints.data_fingerprint(recipe, 'calibration', memory))\n"
    "print('torch' in sys.modules)\n"
)


def in_a_new_process(path, memory):
    run = subprocess.run([sys.executable, "-c", FRESH, path, memory], check=True, capture_output=True, text=True)
    model, data, has_torch = run.stdout.split()
    return (model, data), has_torch == "True"


def prints(path, memory, *overrides):
    recipe = load_recipe(path, overrides)
    return model_fingerprint(recipe, memory), data_fingerprint(recipe, "calibration", memory)


def test_what_is_known_is_told_without_torch_and_is_the_same_in_every_process(write, tmp_path):
    path = write()
    here = prints(path, tmp_path / "memory")
    known, has_torch = in_a_new_process(path, tmp_path / "memory")
    assert known == here
    assert not has_torch
    computed, has_torch = in_a_new_process(path, tmp_path / "empty")
    assert computed == here
    assert has_torch


def test_the_same_project_elsewhere_has_the_same_fingerprints(write, tmp_path):
    assert prints(write("one"), tmp_path / "memory") == prints(write("two"), tmp_path / "memory")


def test_code_that_was_touched_is_computed_again_and_comes_out_equal(write, tmp_path):
    path = write()
    before = prints(path, tmp_path)
    os.utime(path.parent / "model.py", ns=(1, 1))
    os.utime(path.parent / "data.py", ns=(1, 1))
    assert prints(path, tmp_path) == before


def test_changed_code_weights_seed_and_inputs_change_the_model_alone(write, tmp_path):
    path = write(**{"model.py": "from blocks import build", "blocks.py": (write().parent / "model.py").read_text()})
    model, data = prints(path, tmp_path)
    blocks = path.parent / "blocks.py"
    assert prints(path, tmp_path, "seed=1")[0] != model
    assert prints(path, tmp_path, "compress.prune.flops=0.5") == (model, data)
    blocks.write_text(blocks.read_text().replace("x.mean((2, 3))", "x.amax((2, 3))"))
    changed = prints(path, tmp_path)
    assert changed[0] != model
    assert changed[1] == data
    for seed in (1, 2):
        weights = build_model(load_recipe(path, [f"seed={seed}"])).state_dict()
        torch.save(weights, path.parent / "weights.pt")
        weighted = prints(path, tmp_path, "model.weights=weights.pt")
        assert weighted not in (changed, (model, data))
        changed = weighted


def test_a_file_that_only_the_build_reads_counts(write, tmp_path):
    code = """
        import json
        from pathlib import Path
        from torch import nn
        class Net(nn.Module):
            def __init__(self, scale):
                super().__init__()
                self.scale = scale
            def forward(self, x):
                return x * self.scale
        def build():
            return Net(json.loads((Path(__file__).parent / "settings.json").read_text()))
    """
    path = write(**{"model.py": code, "settings.json": "1"})
    model, _ = prints(path, tmp_path)
    (path.parent / "settings.json").write_text("2.5")
    assert prints(path, tmp_path)[0] != model


def test_a_changed_data_file_or_label_changes_the_data_alone(write, tmp_path):
    code = """
        import numpy, torch
        from pathlib import Path
        FILE = numpy.load(Path(__file__).with_name("data.npz"))
        PAIRS = torch.utils.data.TensorDataset(torch.from_numpy(FILE["x"]), torch.from_numpy(FILE["y"]))
        def splits():
            return {"calibration": PAIRS, "evaluation": PAIRS}
    """
    import numpy

    path = write(**{"data.py": code})
    images, labels = numpy.zeros((6, 3, 8, 8), "float32"), numpy.zeros(6, "int64")
    found = []
    for label in (0, 0, 1):
        labels[4] = label
        numpy.savez(path.parent / "data.npz", x=images, y=labels)
        found.append((*prints(path, tmp_path), data_fingerprint(load_recipe(path), "evaluation", tmp_path)))
    assert found[0] == found[1]
    assert found[2][0] == found[0][0]
    assert found[2][1] != found[0][1]
    assert found[2][2] != found[0][2]


def test_samples_that_change_between_two_reads_are_named(write, tmp_path):
    recipe = load_recipe(write(**{"data.py": RANDOM % ""}))
    for split in ("calibration", "evaluation"):
        with pytest.raises(InputError) as caught:
            data_fingerprint(recipe, split, tmp_path)
        assert f"data.py:splits: {split}: expected samples that stay the same" in str(caught.value)
        assert "others in a second read: sample 6, of 14" in str(caught.value)


def test_train_samples_may_be_drawn_and_the_seed_fixes_the_fingerprint(write, tmp_path):
    recipe = load_recipe(write(**{"data.py": RANDOM % ""}))
    first, second = (data_fingerprint(recipe, "train", tmp_path / name) for name in ("one", "two"))
    assert first == second


def test_a_dataset_that_gives_its_fingerprint_is_asked_each_time(write, tmp_path):
    given = "def fingerprint(self): return open(__file__ + '.version').read()"
    path = write(**{"data.py": RANDOM % given, "data.py.version": "1"})
    recipe = load_recipe(path)
    first = data_fingerprint(recipe, "calibration", tmp_path)
    assert data_fingerprint(recipe, "calibration", tmp_path) == first
    (path.parent / "data.py.version").write_text("2")
    assert data_fingerprint(recipe, "calibration", tmp_path) != first
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"environment": 1}', '{"environment": "", "fingerprint": "", "stamps": 3}']
)
def test_a_damaged_memory_is_computed_anew(write, tmp_path, damage):
    path, memory = write(), tmp_path / "memory"
    before = prints(path, memory)
    for file in memory.iterdir():
        file.write_text(damage)
    assert prints(path, memory) == before
    assert in_a_new_process(path, memory) == (before, False)


def test_several_at_once_leave_one_whole_memory(write, tmp_path):
    path, memory = write(), tmp_path / "memory"
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: in_a_new_process(path, memory)[0], range(2)))
    assert found[0] == found[1] == prints(path, memory)
    assert sorted(file.suffix for file in memory.iterdir()) == [".json", ".json"]


def test_a_memory_that_cannot_be_written_is_said(write, tmp_path):
    (tmp_path / "memory").write_text("a file where a folder should be")
    with pytest.raises(InputError, match="expected a folder that can be written"):
        model_fingerprint(load_recipe(write()), tmp_path / "memory")
