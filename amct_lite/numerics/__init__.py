"""The arithmetic of quantization, and the statistics it is decided from: arrays in, numbers out, nothing of ONNX."""
