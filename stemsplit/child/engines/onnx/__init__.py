"""The ONNX engine: the U-Nets in ONNX Runtime, and the program that writes its graphs.

Not here: conversion of the published weights (`weights`), masks (`ratio_mask`).
Imports: `core` and the modules of `engines`.
"""

from stemsplit.child.engines.onnx.engine import load

__all__ = ["load"]
