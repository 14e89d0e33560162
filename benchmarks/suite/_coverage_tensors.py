"""Tensor by tensor: where an artifact's integers begin to differ from the simulated model's, and by how much."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def compared(state: Any, file: Path, image: Any) -> dict[str, Any]:
    """How many quantized tensors of one image are equal to the last integer, and what the first unequal one is like.

    The artifact runs with its quantized tensors as further outputs; onnxruntime fuses it as before.
    """
    import numpy as np

    simulated, found = _simulated(state.callable_module(), image), _from_runtime(file, image.numpy())
    shared = [name for name in simulated if name in found and found[name].shape == simulated[name][0].shape]
    result: dict[str, Any] = {"tensors": len(shared), "equal": 0, "first": None}
    for name in shared:
        integers, exact = simulated[name]
        apart = np.abs(found[name].astype(np.int64) - integers)
        result["equal"] += not bool(apart.any())
        if apart.any() and result["first"] is None:
            result["first"] = {
                "number": result["equal"],
                "differ": float((apart > 0).mean()),
                "largest": int(apart.max()),
                "from_half": float(np.abs(exact[apart > 0] % 1 - 0.5).max()),
            }
    return result


def _simulated(module: Any, image: Any) -> dict[str, Any]:
    """Of every quantized tensor its integers, and in steps what was rounded to them; by nodes' names, in order."""
    import torch

    found: dict[str, Any] = {}

    class Watcher(torch.fx.Interpreter):
        def run_node(self, n: torch.fx.Node) -> Any:
            value = super().run_node(n)
            if "quantized_decomposed.quantize_per_tensor" in str(n.target):
                found[n.name] = (value.numpy(), (self.env[n.args[0]].double() / n.args[1]).numpy())
            return value

    with torch.no_grad():
        Watcher(module).run(image)
    return found


def _from_runtime(file: Path, image: Any) -> dict[str, Any]:
    import onnx
    import onnxruntime

    model = onnx.load(str(file))
    del model.graph.output[:]
    nodes = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    for node in nodes:
        model.graph.output.append(onnx.helper.make_tensor_value_info(node.output[0], onnx.TensorProto.UINT8, None))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = session.run(None, {"image": image})
    return {node.name.removeprefix("node_"): value for node, value in zip(nodes, values, strict=True)}
