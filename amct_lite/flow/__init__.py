"""Where integers flow from layer to layer, so that ONNX Runtime's CPU kernels hand them on without a float in between."""
