"""Runs in the supervisor. A batch on more than one machine, over Ray.

`shard` and `porter` run on the nodes, `desk` beside the supervisor.
"""
