"""ONNX graphs: what torch exports, translated, made right, and counted."""
