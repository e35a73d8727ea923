"""A batch from its inputs to its result: request, plan, run, events and status.

Not here: how a track is separated (`executors`), and how events are shown (`cli`, `report`).
Imports: `core`, `executors`, `journal`, `library`, `models`, `storage`, `supervisor`.
"""
