"""Runs in the fork server, as the last of the modules that it imports before the first child.

Freezing moves everything imported so far out of the garbage collector's sight. Otherwise the first
collection in each child would touch, and so copy, every page that it shares with the fork server:
some 55 MiB a child.
"""

import gc

gc.collect()
gc.freeze()
