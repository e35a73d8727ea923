"""Runs in the supervisor. A song made from nothing whose true stems are known, and its score."""
