"""The ONNX backbone and the export of its graph."""
