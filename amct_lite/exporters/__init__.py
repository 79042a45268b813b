"""Prepared model and record in, quantized model out; one file a format."""
