"""From Python: a LoRA whose edits are methods and that shows itself in a notebook; PEFT in and out.

Imports edits, insight and what is below them.
"""
