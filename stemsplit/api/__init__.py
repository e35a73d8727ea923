"""Library calls besides the batch: a pool of futures, inspection, self-checks and the demo.

Not here: the calls that run a batch (`batch`), and anything that prints (`cli`).
Imports: `batch`, `core`, `executors`, `library`, `models`, `storage`, `supervisor`.
"""
