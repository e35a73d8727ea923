"""A preload of the fork server that allocates 300 MiB while it is imported, and frees them."""

bytearray(b"x") * (300 * 2**20)
