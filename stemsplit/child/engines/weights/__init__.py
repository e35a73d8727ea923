"""Weights on disk: TensorFlow's checkpoints, and the converted file that the ONNX engine maps.

Not here: what turns weights into a network (the engines' own folders).
Imports: `core` and `spleeter_models`.
"""
