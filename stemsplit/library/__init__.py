"""The files of a batch: finds input tracks, probes them, and assigns the destinations of stems.

Not here: which of the tracks are separated (`batch`), and how audio is decoded (`audio`).
Imports: `audio`, `core`, `journal`, `storage`.
"""
