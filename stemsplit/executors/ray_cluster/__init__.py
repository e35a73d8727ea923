"""Runs in the supervisor. A batch on more than one machine, over Ray.

`shard` and `porter` run on the nodes, `mailbox` beside the supervisor.
"""
