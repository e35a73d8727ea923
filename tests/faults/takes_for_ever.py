"""A preload whose import does not end, as on a network disk that does not answer."""

import time

time.sleep(600)
