"""The ways to make one update of several: weights and methods, one small function each.

A new way to merge goes here; which layers and files it is asked for is said in `edits/blend.py`.
Imports running and what is below it.
"""
