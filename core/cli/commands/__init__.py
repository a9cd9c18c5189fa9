"""The commands, one file each: `options` adds its options to a parser, `run` does what they say.

A command is listed in `catalogue.py` beside this folder; its file is imported when it is called.
"""
