"""The ways to make one update of several: weights and methods, one small function each.

A new method goes into `in_space` where it works on factors, into `element_wise` where it needs the
entries; `method`'s decorator registers it, `merge` runs it. A new way to weigh goes into `balance`.
Imports running and what is below it.
"""
