"""LoRA in, tables and pictures out: statistics, analysis, importance, charts, trainers' settings.

A new column is a statistic, a new picture a chart, a new trainer a function of `trainer_configs`.
Imports running and what is below it; never edits, which stand beside it.
"""
