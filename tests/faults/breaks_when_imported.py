"""Fails to import as a broken installation does, with something else than ImportError."""

message = "Descriptors cannot be created directly"
raise TypeError(message)
