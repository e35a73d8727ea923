"""Runs in the supervisor. The command line: options in, text out, a thin client of the library."""
