"""The TensorFlow engine: the U-Nets in TensorFlow's C library, without its Python package.

Not here: reading of weights (`weights`), masks (`ratio_mask`).
Imports: `core` and the modules of `engines`.
"""

from stemsplit.child.engines.tensorflow.engine import load

__all__ = ["load"]
