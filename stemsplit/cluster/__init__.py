"""A batch on more than one machine, over Ray. `shard` and `porter` run on the nodes."""
