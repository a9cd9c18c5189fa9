"""Small matrices: updates as thin factors, their sums, norms, decompositions and ranks.

What lives here is linear algebra that a paper could state: no files, no names, no settings of an
edit. A new rule that chooses ranks goes into `rank_rules.py`. Imports nothing of core but errors.
"""
