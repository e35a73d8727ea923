"""What programs call beside a batch: a pool of futures, inspection, checks, the demo.

Not here: anything that prints (`cli`).
Imports: all rooms but `cli` and `report`.
"""
