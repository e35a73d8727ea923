"""Runs in both. The version of stemsplit, which the build reads from here, and its name on PyPI."""

__version__ = "0.1.0"

DISTRIBUTION = "stemsplit-batch"
"""Name of the distribution. On PyPI, `stemsplit` belongs to another project."""
