"""Bias correction: takes back the mean error that rounding the weights brings into each output channel."""
