"""One module a command, each a thin client of the library.

Not here: how events are shown (`display`) and what options mean (`options`, `settings`).
Imports: all rooms but `child`.
"""
