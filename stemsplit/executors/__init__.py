"""Where the tracks of a batch are separated: on this machine, or on the nodes of a Ray cluster.

Not here: which tracks there are (`batch`, `library`) and the pool of one machine (`supervisor`).
Imports: `core`, `storage`, `models`, `journal`, `supervisor`.
"""
