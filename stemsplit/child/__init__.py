"""Runs in the child. One process, one track, then exit, so that the system takes all memory back."""
