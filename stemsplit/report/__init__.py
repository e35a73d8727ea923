"""Runs in the supervisor. What was done to an output folder, as a page to read and to listen in."""
