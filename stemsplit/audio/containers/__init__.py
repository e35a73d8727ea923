"""Find the sound files that a file really consists of, whatever its headers claim.

Not here: decoding them (`audio/readers`), reading and writing tags (`audio/tagging`).
Imports: `core`.
"""
