"""What tokens.py draws a network from.

A block makes of tokens (batch, length, channels) others of the same sizes. Embeddings are what a network begins with, heads
what it ends with.
"""
