"""A preload of the fork server that raises `TypeError` when imported, as broken packages may do."""

message = "Descriptors cannot be created directly"
raise TypeError(message)
