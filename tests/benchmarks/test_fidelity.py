"""Signal, noise and where it comes in, on numbers that can be worked out by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from edgewright.benchmarks.fidelity import Diff, LayerDifference, Noise, added


def test_the_ratio_is_that_of_the_powers() -> None:
    right = np.array([3.0, -4.0], np.float32)
    found = right + np.array([0.3, 0.4], np.float64)
    noise = Noise().plus(right, found)
    assert (noise.signal, noise.noise, noise.largest) == pytest.approx((25, 0.25, 0.4))
    assert noise.sqnr_db == pytest.approx(20)
    assert noise.share == pytest.approx(0.01)


def test_sums_do_not_depend_on_how_the_values_are_parted() -> None:
    random = np.random.default_rng(0)
    right, found = random.standard_normal((2, 10, 4))
    parts = Noise()
    for index in range(len(right)):
        parts = parts.plus(right[index], found[index])
    whole = Noise().plus(right, found)
    assert parts.largest == whole.largest
    assert parts.sqnr_db == pytest.approx(whole.sqnr_db)


def test_equal_values_and_values_that_should_be_nothing_have_no_ratio() -> None:
    zeros, ones = np.zeros(3), np.ones(3)
    assert Noise().plus(ones, ones).sqnr_db == math.inf
    assert Noise().plus(zeros, zeros).share == 0
    assert Noise().plus(zeros, ones).sqnr_db == -math.inf
    assert Noise().plus(np.zeros(0), np.zeros(0)).largest == 0


def test_what_a_layer_adds_is_more_than_the_worst_of_its_inputs() -> None:
    sources = {"a": ("x",), "b": ("x",), "sum": ("a", "b"), "last": ("unknown",), "unknown": ("sum",)}
    shares = {"x": 0.01, "a": 0.02, "b": 0.05, "sum": 0.04, "last": 0.1}
    assert added(shares, sources, "x") == (0.01, 0.0)
    assert added(shares, sources, "a") == pytest.approx((0.01, 0.01))
    assert added(shares, sources, "sum") == (0.0, 0.05)
    assert added(shares, sources, "last") == pytest.approx((0.06, 0.04))  # past the layer of which nothing is known


def layer(name: str, sqnr_db: float | None, added_share: float | None, note: str = "") -> LayerDifference:
    if note:
        return LayerDifference(name, "Conv", "uint8", note=note)
    return LayerDifference(name, "Conv", "uint8", name, sqnr_db, 40.0, added_share, 0.5, 3.0)


def diff(*layers: LayerDifference) -> Diff:
    return Diff("mine", "theirs", "local", 8, layers, ("gone",), ("calibrate",), ("a remark",))


def test_worst_and_culprit_are_named_and_nothing_is_dropped() -> None:
    found = diff(layer("a", 30.0, 0.001), layer("b", 10.0, 0.1), layer("c", 9.0, 0.02), layer("d", None, None, "odd"))
    assert (found.worst, found.culprit) == (found.layers[2], found.layers[1])
    lines = found.to_text().splitlines()
    assert lines[0] == "mine against theirs: 8 samples on local"
    rows = {line.split()[0]: line for line in lines[2:6]}
    assert rows["b"].endswith("10.0 dB  3.0 steps           <- culprit")
    assert rows["c"].endswith("<- worst")
    assert rows["d"].endswith("-        odd")
    assert lines[6:] == [
        "only in theirs: gone",
        "passes that only mine went through: calibrate",
        "a remark",
        "adds the most error: b (Conv): inputs 40.0 dB, output 10.0 dB",
    ]
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert (document["schema"], document["worst"], document["culprit"]) == (1, "c", "b")
    assert [each["name"] for each in document["layers"]] == ["a", "b", "c", "d"]


def test_how_far_layers_are_from_what_was_simulated_is_told_with_the_first_that_is_off() -> None:
    distances = {"a": (0.0, 1.0), "b": (1.0, 0.9), "c": (2.0, 0.8), "d": (3.0, 0.75)}
    layers = [
        replace(layer(name, 30.0, 0.01), simulated_steps=steps, simulated_equal=equal)
        for name, (steps, equal) in distances.items()
    ]
    found = diff(*layers, layer("e", 30.0, 0.01))
    assert found.strayed is layers[2]
    assert found.to_json()["strayed"] == "c"
    lines = found.to_text().splitlines()
    assert lines[1].split()[-2:] == ["from", "simulated"]
    assert lines[2].endswith("equal                   <- worst, culprit")
    assert lines[3].endswith("1.0 steps, 90.0% equal")
    assert "simulated: 4 of 5 layers known, at most 3.0 steps off (d); the first more than one step off: c" in lines
    near = diff(*layers[:2])
    assert near.strayed is None
    assert "simulated: 2 of 2 layers known, at most 1.0 steps off" in near.to_text().splitlines()


def test_where_nothing_differs_nobody_is_blamed() -> None:
    found = diff(layer("a", None, 0.0))
    assert (found.worst, found.culprit) == (None, None)
    assert found.to_text().splitlines()[-1] == "no layer adds any error"
    assert "equal" in found.to_text()
