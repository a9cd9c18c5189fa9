"""LoRA in, LoRA out: blend, resize, select, convert, top blocks; and verify, which measures them.

One file for each edit, and what several of them share. An option of an edit goes into its file.
Imports merging and what is below it; never insight, which stands beside it.
"""
