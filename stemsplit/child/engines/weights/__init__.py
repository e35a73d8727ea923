"""Files of weights: TensorFlow checkpoints, and the converted files that the ONNX engine maps.

Not here: the networks that use them (`child.engines`), download and verification (`models`).
Imports: `core`.
"""
