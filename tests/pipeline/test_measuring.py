"""A state's latency is that of its artifact on the device: more work takes longer."""

from __future__ import annotations

import torch
from edgewright.devices.local import LocalDevice
from edgewright.devices.machine import this_machine
from edgewright.ir.state import InputSpec, ModelState
from edgewright.pipeline.measuring import measure_for, measure_on, place_of
from edgewright.targets import Target, load_target
from torch import nn


def test_a_module_with_more_to_compute_takes_longer_and_stays_a_module(target: Target) -> None:
    measure = measure_on(target, LocalDevice(), 1)

    def state(depth: int) -> ModelState:
        layers = [nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()) for _ in range(depth)]
        return ModelState((InputSpec("image", (1, 32, 32, 32)),), nn.Sequential(*layers).eval())

    deep, shallow = state(6), state(1)
    before = {name: tensor.clone() for name, tensor in deep.torch_module().state_dict().items()}
    assert measure(deep) > 2 * measure(shallow) > 0
    after = deep.torch_module().state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_only_what_is_the_targets_own_is_measured(target: Target) -> None:
    assert measure_for(target, None, 1) is None
    assert measure_for(load_target("nvidia-rtx-ada"), LocalDevice(), 1) is None
    other = target.model_copy(update={"isa": target.isa.model_copy(update={"flags": ("no_such_flag",)})})
    assert measure_for(other, LocalDevice(), 1) is None
    own = target.model_copy(update={"isa": target.isa.model_copy(update={"flags": ()})})
    assert (measure_for(own, LocalDevice(), 1) is None) == (this_machine().architecture != target.isa.architecture)
    assert place_of(LocalDevice())[0] == LocalDevice().name
