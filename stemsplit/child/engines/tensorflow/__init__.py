"""The TensorFlow engine: the U-Nets in TensorFlow's C library, without its Python package.

Not here: masks (`child.engines`), separation of whole files (`child.engines.spleeter`).
Imports: `audio`, `core`.
"""

from stemsplit.child.engines.tensorflow.engine import load

__all__ = ["load"]
