"""The OpenVINO backbone, which runs the exported ONNX graph on a CPU; needs the extra `openvino`."""
