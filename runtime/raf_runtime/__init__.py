"""Mesh operators and network execution: NumPy, SciPy and ONNX Runtime, never torch."""
