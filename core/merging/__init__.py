"""The ways to make one update of several: weights and methods, one small function each.

Imports running and what is below it.
"""
