"""LoRA in, LoRA out: blend, resize, select, convert, top blocks; save, and verify, which measures.

One file for each edit: a new option of `resize` goes into `resize.py`, and for the command line and
the node into `cli/edits.py` and `nodes/`, too. What several edits share is in `edit.py`,
`cutting.py` (ranks) and `unchanged.py`.
Imports merging and what is below it; never insight, which stands beside it.
"""
