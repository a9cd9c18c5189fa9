"""One file for each model architecture; what it defines as FAMILY is known from then on.

A new family is a new file here and nothing else. `naming/family.py` says how its table is read.
"""
