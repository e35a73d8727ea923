"""Runs in the supervisor. The files of a batch: which tracks there are and where their stems go."""
