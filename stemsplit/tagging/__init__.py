"""Runs in both. Reading the tags of audio files; needs no audio library."""
