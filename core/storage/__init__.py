"""Bytes: lazy reading of safetensors files, streaming writing of new ones, whole or not at all.

Another file format is one more `Tensors` in `files.py` to be read, and a sink in `sinks.py` to be
written. What lives here knows tensors by their keys and nothing of what they mean.
Imports nothing of core but errors.
"""
