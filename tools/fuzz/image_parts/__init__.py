"""What images.py draws a network from.

A step adds a few nodes to a graph, behind tensors that it picks itself. Where others go on from it, it returns its result.
"""
