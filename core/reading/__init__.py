"""A LoRA: ordered modules with their adapters, the other tensors, the metadata.

How publishers' own spellings and trainers' settings are understood lives here, too.
Imports adapters, naming and what is below them.
"""
