"""The HTML report of an output folder: a page with players, waveforms and a timeline.

Not here: the report in the terminal (`cli`), reading the journal (`journal`).
Imports: `core`, `journal`, `storage`, `supervisor`.
"""
