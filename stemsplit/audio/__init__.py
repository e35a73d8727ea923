"""Audio as arrays `(frames, channels)` of float32 in -1..1: decoding, resampling, encoding, tags.

Not here: engines and the separation itself (`child`).
Imports: `core`.
"""
