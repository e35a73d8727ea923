"""The ONNX engine: the U-Nets in ONNX Runtime, and the program that writes its graphs.

Not here: conversion of published weights (`child.engines.weights`), masks (`child.engines`).
Imports: `audio`, `core`.
"""

from stemsplit.child.engines.onnx.engine import load

__all__ = ["load"]
