"""A batch from its inputs to its result: request, plan, run, events, status.

Not here: how a track is separated (`executors`) and how anything is shown (`cli`, `report`).
Imports: `core`, `storage`, `models`, `library`, `journal`, `supervisor`, `executors`.
"""
