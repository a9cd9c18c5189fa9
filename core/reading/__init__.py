"""A LoRA: ordered modules with their adapters, the other tensors, the metadata.

How publishers' own spellings (`dialects.py`) and trainers' settings (`peft_scale.py`) are
understood lives here, too, and which programs find a module (`readers.py`).
Imports adapters, naming and what is below them.
"""
