"""Runs in the supervisor. Spleeter's trained models: which there are, where, whether whole."""
