"""Names: which weight of which model a key of a file means, and how every spelling calls it.

Families of models (a new one is one new file in `families/`), spellings, where in the network a
module is, and the language of selectors. Knows no tensors. Imports nothing of core but errors.
"""
