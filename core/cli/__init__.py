"""The command line: `lora-alloy`. Options, progress, and how results look on a terminal.

One file for each group of commands. Imports everything, and nothing imports it.
"""
