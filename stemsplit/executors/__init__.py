"""Where the tracks of a batch are separated: on this machine, or on the nodes of a Ray cluster.

Not here: which tracks a batch has (`batch`, `library`) and the pool of one machine (`supervisor`).
Imports: `core`, `journal`, `models`, `storage`, `supervisor`.
"""
