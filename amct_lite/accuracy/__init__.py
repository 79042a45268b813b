"""Quantization judged by the user's own metric: which layers must stay in float so that the metric is kept."""
