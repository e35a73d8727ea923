"""Runs in the child. One process, one track, then exit: the system takes all memory back."""
