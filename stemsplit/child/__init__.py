"""The child process: separates or converts one track and exits, which frees all of its memory.

Not here: starting and watching children (`supervisor`), decoding and encoding audio (`audio`).
Imports: `audio`, `core`, `storage`.
"""
