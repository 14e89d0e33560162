"""How often artifacts predict the same, on predictions that can be counted by hand."""

from __future__ import annotations

import numpy as np
from edgewright.benchmarks.accuracy import Evaluation
from edgewright.pipeline.agreement import SHOWN, agreements


def evaluation(*predictions: int) -> Evaluation:
    return Evaluation((("top1", 0.9),), len(predictions), True, np.array(predictions))


def test_each_pair_of_targets_is_compared() -> None:
    found = agreements({"a": evaluation(1, 2, 3, 4), "b": evaluation(1, 2, 0, 4), "c": evaluation(0, 2, 0, 0)})
    assert [(each.targets, each.agree, each.differ) for each in found] == [
        (("a", "b"), 0.75, (2,)),
        (("a", "c"), 0.25, (0, 2, 3)),
        (("b", "c"), 0.5, (0, 3)),
    ]
    assert found[0].to_json() == {"targets": ["a", "b"], "agree": 0.75, "differ": [2]}
    assert str(found[1]) == "a and c predict the same on 25.00% of the samples; they differ on 0, 2, 3"


def test_a_text_names_the_first_samples_and_counts_the_others() -> None:
    (found,) = agreements({"a": evaluation(*[0] * 20), "b": evaluation(*[0] * 5, *[1] * 15)})
    assert len(found.to_json()["differ"]) == 15
    assert str(found).endswith("differ on 5, 6, 7, 8, 9, 10, 11, 12, 13, 14 and 5 more")
    assert str(found).count(", ") == SHOWN - 1
    (same,) = agreements({"a": evaluation(1, 2), "b": evaluation(1, 2)})
    assert str(same) == "a and b predict the same on 100.00% of the samples"


def test_several_classes_at_once_are_one_prediction() -> None:
    left, right = np.array([[0, 1], [1, 1]]), np.array([[0, 1], [1, 0]])
    both = {name: Evaluation((("f1_macro", 0.9),), 2, True, each) for name, each in (("a", left), ("b", right))}
    assert agreements(both)[0].differ == (1,)


def test_there_is_nothing_to_compare_without_classes_or_a_second_target() -> None:
    numbers = Evaluation((("mae", 0.1),), 2, False, None)
    assert agreements({"a": numbers, "b": numbers}) == ()
    assert agreements({"a": evaluation(1, 2)}) == ()
    assert agreements({}) == ()
