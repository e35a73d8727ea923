"""Writes to the journal's tables: one module each, functions inside the writer's transaction.

Not here: the tables themselves (`journal/schema.py`) and transactions (`journal/writer.py`).
Imports: `core`.
"""
