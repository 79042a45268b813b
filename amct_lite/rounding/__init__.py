"""Learned rounding: what a method of `weights` needs of the network, gathered layer by layer; and weights moved onto what was
decided."""
