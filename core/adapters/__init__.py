"""What each stored kind of adapter means: its tensors, and the change of the weight they stand for.

A new kind is one new file here that registers it. Imports storage, algebra.
"""
