"""Vocabulary that the supervisor and its children share: values, errors, messages. No I/O.

Not here: anything that reads a file, starts a process or looks at the clock.
Imports: nothing of stemsplit.
"""
