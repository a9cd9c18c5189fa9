"""What each stored kind of adapter means: its tensors, and the change of the weight they stand for.

A new kind is one new file here that registers it; `lora.py` is one to look at. `grouping.py` sorts
a file's tensors into adapters. Imports storage, algebra and what is below them.
"""
