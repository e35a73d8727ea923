"""The engines, which run the networks: one folder for each library, and what they share.

Not here: transforms (`audio`), the choice of an engine (`models`), the separation loop (`child`).
Imports: `audio`, `core`.
"""
