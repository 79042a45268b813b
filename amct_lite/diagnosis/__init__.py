"""Looks at models and reports: what they cost, where their error arises, what ONNX Runtime makes of them. Changes nothing."""
