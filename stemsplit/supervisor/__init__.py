"""Runs in the supervisor. Starts children, listens to them, and judges how they ended.

Imports neither TensorFlow nor NumPy: the supervisor stays small however long a batch is.
"""
