"""Answer requests from a bundle: numpy and ONNX Runtime, and nothing else that is heavy."""
