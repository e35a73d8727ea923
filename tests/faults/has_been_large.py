"""A preload of the fork server's that takes 300 MiB while it is imported and gives them back."""

bytearray(b"x") * (300 * 2**20)
