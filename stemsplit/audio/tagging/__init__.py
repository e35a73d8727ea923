"""Tags of audio files: reading them, and copying them to stems.

Not here: audio data. Needs no audio library, so that the supervisor may import it.
Imports: `core`.
"""
