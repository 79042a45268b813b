"""One file for each form that `exporters/ort.py` writes in words for which ONNX Runtime has integer kernels, or faster ones."""
