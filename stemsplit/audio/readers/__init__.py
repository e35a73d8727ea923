"""Read audio files through libsndfile or FFmpeg, at their own sample rate and with all channels.

Not here: finding a file's parts (`audio/containers`), checks and loss reports (`audio/decode`).
Imports: `core`.
"""
