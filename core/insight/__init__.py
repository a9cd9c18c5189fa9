"""LoRA in, tables and pictures out: statistics, analysis, importance, charts, trainers' settings.

A new column of the table is a function in `statistics.py`, a new chart one in `charts.py`, a new
trainer one in `trainer_configs.py`.
Imports running and what is below it; never edits, which stand beside it.
"""
