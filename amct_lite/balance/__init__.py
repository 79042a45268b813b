"""Balanced layers: x → layer becomes x / f → layer with weight · f, with one factor f for each input channel.

What leaves here is an ordinary float model that computes the same, so nothing behind it need know of balancing.
"""

STRENGTH = 0.5
"""Of `--balance` without a number."""
