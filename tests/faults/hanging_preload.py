"""A preload of the fork server whose import hangs, as on a network disk that does not respond."""

import time

time.sleep(600)
