"""The command line: commands, options, settings files, signals and what is shown.

Not here: anything that programs can call (`api`, `batch`).
Imports: `api`, `batch`, `core`, `journal`, `library`, `models`, `report`, `storage`.
"""
