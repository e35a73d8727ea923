"""A batch on the nodes of a Ray cluster, whose shards run the pool of one machine each.

Not here: what runs in a shard's pool and its children (`supervisor`, `child`).
Imports: `core`, `journal`, `models`, `storage`, `supervisor`.
"""
