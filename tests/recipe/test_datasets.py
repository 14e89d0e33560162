"""Splits give what the network takes, in batches, and say which sample does not fit."""

from __future__ import annotations

import pytest
import torch
from edgewright.ir.errors import InputError
from edgewright.recipe.datasets import Batch, load_data
from edgewright.recipe.schema import load_recipe

GIVEN = """
    import numpy, torch
    class Given:
        def __init__(self, sample, count=4):
            self.sample, self.count = sample, count
        def __len__(self):
            return self.count
        def __getitem__(self, index):
            return self.sample(index) if callable(self.sample) else self.sample
    GOOD = (torch.zeros(3, 8, 8), 1)
    def splits():
        return {"calibration": Given(GOOD), "evaluation": Given(%s)}
"""


def given(write, sample, *overrides):
    """The evaluation split whose samples are what the Python expression says."""
    return load_data(load_recipe(write(**{"data.py": GIVEN % sample}), overrides)).split("evaluation")


def refusal(action, *arguments):
    with pytest.raises(InputError) as caught:
        action(*arguments)
    return str(caught.value)


def returned(write, expression):
    return load_recipe(write(**{"data.py": f"import torch\ndef splits(): return {expression}"}))


def test_batches_are_stacked_in_order_and_limited(write):
    split = load_data(load_recipe(write())).split("evaluation")
    batches = list(split.batches(5))
    assert [tuple(batch.inputs[0].shape) for batch in batches] == [(5, 3, 8, 8), (5, 3, 8, 8), (2, 3, 8, 8)]
    assert torch.equal(torch.cat([batch.labels for batch in batches]), torch.arange(12) % 2)
    assert torch.equal(torch.cat([batch.inputs[0] for batch in batches]), split.dataset.images)
    assert [len(batch.labels) for batch in split.batches(5, limit=7)] == [5, 2]
    assert len(split) == 12


def test_a_seed_shuffles_the_same_way_each_time(write):
    split = load_data(load_recipe(write(**{"data.py": GIVEN % "lambda i: (GOOD[0], i), 50"}))).split("evaluation")

    def order(seed):
        return torch.cat([batch.labels for batch in split.batches(8, order_seed=seed)]).tolist()

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert sorted(order(1)) == list(range(50))


def test_nothing_but_first_samples_is_read_before_it_is_asked_for(write):
    path = write(**{"data.py": GIVEN % "lambda i: (open(f'read{i}', 'w').close(), GOOD)[1]"})
    read = f"(open({str(path.parent)!r} + f'/read{{i}}', 'w').close(), GOOD)[1]"
    load_data(load_recipe(write(**{"data.py": GIVEN % f"lambda i: {read}"})))
    assert [file.name for file in path.parent.glob("read*")] == ["read0"]


@pytest.mark.parametrize(
    "sample", ["(numpy.zeros((3, 8, 8), 'float32'), numpy.int64(1))", "[GOOD[0], torch.tensor(1)]"]
)
def test_arrays_and_tensors_are_samples(write, sample):
    (batch,) = given(write, sample).batches(4)
    assert batch.inputs[0].dtype == torch.float32
    assert batch.labels.dtype == torch.int64


def test_several_inputs_come_in_the_networks_order(write):
    inputs = "model.inputs={a: {shape: [batch, 2]}, b: {shape: [batch], dtype: int64}}"
    sample = "({'b': torch.tensor(3), 'a': torch.ones(2)}, 0)"
    texts = GIVEN.replace("GOOD = (torch.zeros(3, 8, 8), 1)", f"GOOD = {sample}")
    recipe = load_recipe(write(**{"data.py": texts % "GOOD"}), [inputs])
    (batch,) = load_data(recipe).split("evaluation").batches(4)
    assert [tuple(values.shape) for values in batch.inputs] == [(4, 2), (4,)]
    texts = GIVEN.replace("GOOD = (torch.zeros(3, 8, 8), 1)", "GOOD = (torch.ones(2), 0)")
    recipe = load_recipe(write("other", **{"data.py": texts % "GOOD"}), [inputs])
    assert "calibration[0]: expected a mapping with the inputs a, b, got float32 (2,)" in refusal(load_data, recipe)


@pytest.mark.parametrize(
    ("sample", "found"),
    [
        ("(torch.zeros(8, 8, 3), 1)", "image as float32 (3, 8, 8), without the batch axis, got float32 (8, 8, 3)"),
        ("(torch.zeros(3, 8, 8).double(), 1)", "got float64 (3, 8, 8)"),
        ("(torch.zeros(3, 8, 8).byte(), 1)", "got uint8 (3, 8, 8)"),
        ("('text', 1)", "got a str 'text'"),
        ("({'picture': GOOD[0]}, 1)", "a mapping with the inputs image, got picture"),
        ("GOOD[0]", "a pair (input, label), got float32 (3, 8, 8)"),
        ("(GOOD[0], 1.5)", "a class number as the label, got a float 1.5"),
        ("(GOOD[0], -1)", "a class number as the label, got a int -1"),
        ("(GOOD[0], 'cat')", "labels that are numbers or tensors"),
        ("(GOOD[0] / 0, 1)", "finite numbers in image, got NaN or infinity"),
    ],
)
def test_a_sample_that_does_not_fit_is_named_at_once(write, sample, found):
    message = refusal(given, write, sample)
    assert message.startswith("data.py:splits: evaluation[0]: expected ")
    assert found in message


@pytest.mark.parametrize(
    ("sample", "found"),
    [
        ("lambda i: (GOOD[0] / (i != 2), 1)", "evaluation[2]: expected finite numbers in image"),
        ("lambda i: (torch.zeros(3 + (i == 2), 8, 8), 1)", "evaluation[2]: expected image as float32 (3, 8, 8)"),
        ("lambda i: [GOOD, GOOD, {}][i]", "evaluation[2]: expected a pair (input, label), got a dict"),
        ("lambda i: [GOOD, GOOD][i]", "evaluation[2]: expected a sample, got IndexError"),
        ("lambda i: (GOOD[0], [1, 1, [1, 1]][i])", "evaluation[2]: expected a label of the shape (), got (2,)"),
    ],
)
def test_a_later_sample_is_named_when_it_is_read(write, sample, found):
    split = given(write, sample)
    assert found in refusal(list, split.batches(3))


def test_regression_labels_are_float32_and_finite(write):
    split = given(write, "lambda i: (GOOD[0], numpy.array([0.5, i]))", "task=regression")
    (batch,) = split.batches(4)
    assert batch.labels.dtype == torch.float32
    assert tuple(batch.labels.shape) == (4, 2)
    split = given(write, "lambda i: (GOOD[0], 1 / (1 - i) if i != 1 else float('inf'))", "task=regression")
    assert "evaluation[1]: expected finite numbers in the label" in refusal(list, split.batches(2))


def test_splits_that_are_missing_unknown_or_no_datasets_are_named_together(write):
    message = refusal(load_data, returned(write, "{'calibration': 3, 'trian': []}"))
    assert "data.py:splits: evaluation: expected a split 'evaluation', got none" in message
    assert "data.py:splits: trian: expected one of the splits calibration, evaluation, train, unlabelled" in message
    assert "data.py:splits: calibration: expected a dataset with __len__ and __getitem__, got a int 3" in message
    assert "a mapping of split names to datasets, got a list" in refusal(load_data, returned(write, "[]"))


def test_an_empty_split_is_refused(write):
    recipe = load_recipe(write(**{"data.py": GIVEN % "GOOD, 0"}))
    assert "evaluation: expected at least one sample, got an empty split" in refusal(load_data, recipe)


def test_no_train_split_says_what_to_add(write):
    data = load_data(load_recipe(write(**{"data.py": GIVEN % "GOOD"})))
    assert not data.has("train")
    message = refusal(data.split, "train")
    assert "expected a split 'train', got only calibration, evaluation; return one more dataset" in message


def test_a_data_source_that_fails_names_file_and_line(write):
    path = write(**{"data.py": "def splits():\n    raise OSError('disk gone')"})
    assert "data: expected data.py:splits to run through, got OSError: disk gone (data.py, line 2)" in refusal(
        load_data, load_recipe(path)
    )


def test_what_a_source_draws_depends_on_the_recipes_seed(write):
    text = GIVEN % "(torch.rand(3, 8, 8), 1)"
    images = []
    for folder, seed in [("a", 0), ("b", 0), ("c", 1)]:
        recipe = load_recipe(write(folder, **{"data.py": text}), [f"seed={seed}"])
        images.append(next(load_data(recipe).split("evaluation").batches(1)).inputs[0])
    assert torch.equal(images[0], images[1])
    assert not torch.equal(images[0], images[2])


def test_a_subset_gives_its_samples_in_its_order_and_may_be_narrowed_again(write):
    split = given(write, "lambda i: (GOOD[0], i), 50").subset([7, 3, 40, 9])
    assert len(split) == 4
    assert next(split.batches(4)).labels.tolist() == [7, 3, 40, 9]
    assert next(split.subset([2, 0]).batches(4)).labels.tolist() == [40, 7]
    assert sorted(next(split.batches(4, order_seed=1)).labels.tolist()) == [3, 7, 9, 40]


@pytest.mark.parametrize("size", [2, 3, 5, 8])
def test_a_batch_is_filled_up_with_its_own_first_samples(size):
    batch = Batch((torch.arange(3), torch.arange(6).reshape(3, 2)), torch.arange(3))
    first, second = batch.filled(size)
    expected = [0, 1, 2, 0, 1, 2, 0, 1][: max(size, 3)]
    assert first.tolist() == expected
    assert second[:, 0].tolist() == [2 * index for index in expected]
