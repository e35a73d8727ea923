"""Vocabulary that the supervisor and its children share: values, errors, messages.

Not here: anything that reads files or starts processes (`storage`, `supervisor`).
Imports: nothing.
"""
