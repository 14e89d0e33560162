"""Programs on their way through litert-torch: float ones too, and what it says of what it can't convert."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from edgewright.ir.errors import StepError
from edgewright.ir.graph import export
from edgewright.runtimes.flatbuffer.lowering import lowered
from torch import Tensor, nn

IMAGE = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Two(nn.Module):
    """An image and two numbers; an image and two numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.linear = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(2, 2)

    def forward(self, image: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        return self.convolution(image), self.linear(numbers)


def test_images_have_their_channels_last_and_other_tensors_stay(capfd: pytest.CaptureFixture[str]) -> None:
    from ai_edge_litert.interpreter import Interpreter

    torch.manual_seed(0)
    network, numbers = Two().eval(), torch.randn(1, 2)
    content = lowered(export(network, (IMAGE, numbers), False), (IMAGE, numbers), False)
    assert capfd.readouterr() == ("", "")
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()
    assert sorted(tuple(entry["shape"]) for entry in given) == [(1, 2), (1, 8, 8, 3)]
    for entry in given:
        values = IMAGE.permute(0, 2, 3, 1) if len(entry["shape"]) == 4 else numbers
        interpreter.set_tensor(entry["index"], values.contiguous().numpy())
    interpreter.invoke()
    wanted = {values.dim(): values.detach().numpy() for values in network(IMAGE, numbers)}
    for entry in interpreter.get_output_details():
        found = interpreter.get_tensor(entry["index"])
        found = found.transpose(0, 3, 1, 2) if found.ndim == 4 else found
        assert np.abs(found - wanted[found.ndim]).max() <= np.sqrt(np.finfo(np.float32).eps)


class Within(nn.Module):
    """A network that does something in a module of its own, called part."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.linear, self.part = nn.Linear(8, 8), part

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.part(self.linear(x))
        return found


def test_what_can_not_be_converted_is_named_with_its_module_and_the_converters_reason() -> None:
    class Product(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.cumprod(-1)

    with pytest.raises(StepError, match=r"could not convert cumprod in part: .*Lowering not found: .* replace it in"):
        lowered(export(Within(Product()), (IMAGE,), False), (IMAGE,), False)


def test_an_operator_in_no_module_is_named_alone() -> None:
    class Values(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.linalg.eigvals(x[0, 0]).real

    with pytest.raises(StepError, match=r"litert-torch could not convert linalg_eigvals: .*eig"):
        lowered(export(Values(), (IMAGE,), False), (IMAGE,), False)


def test_a_shape_that_depends_on_the_data_is_refused_by_name() -> None:
    class Chosen(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * x[x > 0].numel()

    expected = r"tflite: index in part: its shape depends on the data, and every shape in a TFLite file is fixed"
    with pytest.raises(StepError, match=expected):
        lowered(export(Within(Chosen()), (IMAGE,), False), (IMAGE,), False)
