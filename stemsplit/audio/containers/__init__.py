"""Runs in both. What the bytes of a file say, whatever its header claims.

Each module knows the layout of one family of containers and finds in a file the sound files that it
really consists of. Nothing here decodes. `stemsplit.audio.readers` reads what is found.
"""
