"""Local and remote files behind the same functions: publishing, safe reading, temporary folders.

Not here: which files are inputs (`library`) and what is recorded about them (`journal`).
Imports: `core`.
"""
