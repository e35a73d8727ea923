"""Spleeter's models on this machine: catalogue, weights in each form, engines, settings check.

Not here: loading weights into a network (`child`).
Imports: `core`, `storage`.
"""
