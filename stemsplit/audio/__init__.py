"""Runs in both. Sound: decoding, sample-rate conversion, transforms, encoding. Never TensorFlow.

Arrays of samples are `(frames, channels)` float32 in -1..1, unless a docstring says otherwise.
"""
