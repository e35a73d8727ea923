"""Runs in both. The version of stemsplit, which the build reads from here."""

__version__ = "0.1.0"
