"""Bytes: lazy reading of safetensors files, streaming writing of new ones, whole or not at all.

What lives here knows tensors by their keys and nothing of what they mean.
Imports nothing of core but errors.
"""
