"""A LoRA: ordered modules with their adapters, the other tensors, the metadata.

How publishers' own spellings (`dialects.py`) and trainers' settings (`peft_scale.py`) are
understood lives here, too.
Imports adapters, naming and what is below them.
"""
