"""The commands, one module each, and what the batch commands share.

Not here: how events are shown (`display`), the options (`options`, `separate_options`) and their
sources (`settings`).
Imports: `api`, `batch`, `core`, `journal`, `library`, `models`, `report`, `storage`.
"""
