"""Which layers to leave in float so that a metric is kept: pure search over names, nothing of models."""
