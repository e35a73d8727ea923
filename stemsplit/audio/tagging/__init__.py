"""Tags of audio files: reading them and copying them to stems.

Not here: path templates that use tags (`library`), conversion of covers (`audio.cover_art`).
Imports: `core`.
"""
