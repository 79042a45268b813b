"""Pure search over names, nothing of models: which layers to leave in float, and one choice for each within a budget."""
