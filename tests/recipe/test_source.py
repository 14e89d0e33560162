"""The network comes as the recipe says, in eval mode, and is known to run."""

from __future__ import annotations

import pickle
import zipfile

import pytest
import torch
from edgewright.ir.errors import InputError
from edgewright.ir.state import InputSpec
from edgewright.recipe.schema import load_recipe
from edgewright.recipe.source import build_model, input_specs, load_model

PROGRAM = """
    model:
      source: net.pt2
      inputs: {image: {shape: [2, 3, 8, 8]}}
    data: data.py:splits
"""


def refusal(path, action=load_model):
    with pytest.raises(InputError) as caught:
        action(load_recipe(path))
    return str(caught.value)


def built_by(write, body, extra=""):
    return write(**{"model.py": f"import torch\nfrom torch import nn\n{extra}\ndef build():\n    {body}\n"})


def export(path):
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.Flatten()).eval()
    torch.export.save(torch.export.export(module, (torch.zeros(2, 3, 8, 8),)), path)
    return module


def test_input_specs_keep_the_order_and_open_the_batch(write):
    text = """
        model:
          source: model.py:build
          inputs: {tokens: {shape: [batch, 5], dtype: int64}, image: {shape: [batch, 3, 8, 8]}}
        data: data.py:splits
    """
    assert input_specs(load_recipe(write(**{"recipe.yaml": text}))) == (
        InputSpec("tokens", (None, 5), "int64"),
        InputSpec("image", (None, 3, 8, 8), "float32"),
    )


def test_the_seed_fixes_what_is_drawn_and_the_module_evaluates(write):
    path = write()
    first, second = build_model(load_recipe(path)), build_model(load_recipe(path))
    other = build_model(load_recipe(path, ["seed=1"]))
    assert torch.equal(first.conv.weight, second.conv.weight)
    assert not torch.equal(first.conv.weight, other.conv.weight)
    assert not any(module.training for module in first.modules())


def test_weights_are_loaded(write):
    path = write()
    trained = build_model(load_recipe(path, ["seed=5"]))
    torch.save(trained.state_dict(), path.parent / "weights.pt")
    loaded = load_model(load_recipe(path, ["model.weights=weights.pt"]))
    assert torch.equal(loaded.conv.weight, trained.conv.weight)


def test_weights_that_do_not_fit_name_recipe_and_keys(write):
    path = write()
    torch.save({"conv.weight": torch.zeros(1)}, path.parent / "weights.pt")
    with pytest.raises(InputError) as caught:
        load_model(load_recipe(path, ["model.weights=weights.pt"]))
    assert f"{path}: model.weights: expected" in str(caught.value)
    assert "missing: conv.bias" in str(caught.value)


def test_something_else_than_a_module_is_refused(write):
    assert "expected a torch.nn.Module, got a dict from model.py:build" in refusal(built_by(write, "return {}"))


def test_a_build_that_fails_names_file_and_line(write):
    assert "got ValueError: no such depth (model.py, line 5)" in refusal(
        built_by(write, "raise ValueError('no such depth')")
    )


def test_a_rejected_shape_names_the_shape_and_the_reason(write):
    path = write()
    with pytest.raises(InputError) as caught:
        load_model(load_recipe(path, ["model.inputs.image.shape=[1, 5, 8, 8]"]))
    message = str(caught.value)
    assert (
        "model.inputs: expected inputs that the network takes (image float32 (1, 5, 8, 8)), got RuntimeError" in message
    )
    assert "to have 3 channels, but got 5 channels" in message
    assert "(model.py, line 14)" in message


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("'text'", "a network that gives tensors, got str"),
        ("x.mean()", "an output whose first axis is the batch, 2, got the shape ()"),
        ("x * float('nan')", "got NaN in the output"),
    ],
)
def test_outputs_that_nothing_can_be_done_with_are_refused(write, output, expected):
    net = f"class Net(nn.Module):\n    def forward(self, x):\n        return {output}\n"
    assert expected in refusal(built_by(write, "return Net()", net))


def test_several_inputs_reach_the_network_in_the_recipes_order(write):
    net = "class Net(nn.Module):\n    def forward(self, a, b):\n        return self.e(a) + b\n"
    body = "net = Net(); net.e = nn.Embedding(7, 4); return net"
    path = built_by(write, body, net)
    inputs = "model.inputs={a: {shape: [batch], dtype: int64}, b: {shape: [batch, 4]}}"
    module = load_model(load_recipe(path, [inputs]))
    a, b = torch.tensor([1, 2]), torch.ones(2, 4)
    assert torch.equal(module(a, b), module.e(a) + b)


def test_an_exported_program_is_read(write):
    path = write(**{"recipe.yaml": PROGRAM})
    module = export(path.parent / "net.pt2")
    image = torch.randn(2, 3, 8, 8)
    assert torch.equal(load_model(load_recipe(path))(image), module(image))


def test_an_exported_program_of_another_shape_is_refused(write):
    path = write(**{"recipe.yaml": PROGRAM.replace("[2, 3", "[4, 3")})
    export(path.parent / "net.pt2")
    assert "expected inputs that the network takes (image float32 (4, 3, 8, 8))" in refusal(path)


def test_a_damaged_program_is_said(write):
    path = write(**{"recipe.yaml": PROGRAM, "net.pt2": "nothing"})
    assert "expected a file that torch.export.save wrote, got 'net.pt2': BadZipFile" in refusal(path)


def malicious(write, tmp_path, entry):
    """A program whose entry is replaced by, or that gains, a pickle that makes the folder `proof`."""
    path = write(**{"recipe.yaml": PROGRAM})
    export(tmp_path / "good.pt2")
    attack = b"cposix\nmkdir\n(V" + str(tmp_path / "proof").encode() + b"\ntR."
    with zipfile.ZipFile(tmp_path / "good.pt2") as good, zipfile.ZipFile(path.parent / "net.pt2", "w") as bad:
        for name in good.namelist():
            if not name.endswith(entry):
                bad.writestr(name, good.read(name))
        bad.writestr(f"{good.namelist()[0].split('/')[0]}/{entry}", attack)
    return path, attack


@pytest.mark.parametrize("entry", ["data/sample_inputs/model.pt", "data/constants/opaque_obj_0"])
def test_a_malicious_program_does_not_run(write, tmp_path, entry):
    path, attack = malicious(write, tmp_path, entry)
    assert "model.source: expected" in refusal(path)
    assert not (tmp_path / "proof").exists()
    pickle.loads(attack)
    assert (tmp_path / "proof").exists(), "the entry does what it is refused for"


def test_onnx_is_refused_with_what_to_do(write):
    path = write(**{"recipe.yaml": PROGRAM.replace("pt2", "onnx"), "net.onnx": ""})
    assert "reading ONNX files is not supported; name the code" in refusal(path)
