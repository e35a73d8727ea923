"""Runs in the child. Sets environment variables that the engines' libraries read."""

import os

_VARIABLES = {
    # Suppresses the message about the CPU instructions of the TensorFlow build.
    "TF_CPP_MIN_LOG_LEVEL": "2",
    # By default, TensorFlow uses oneDNN's convolutions only on processors with AVX-512 VNNI, but
    # they are faster with AVX2 as well (docs/decisions/0010-the-fast-path.md).
    "TF_ENABLE_ONEDNN_OPTS": "1",
    # Otherwise, ONNX Runtime 1.32 and later writes a device ID below the home folder and resolves
    # the name of a Microsoft host to report to.
    "ORT_DISABLE_TELEMETRY": "1",
}


def set_library_environment() -> None:
    """Set the variables that TensorFlow and ONNX Runtime read on import, except those already set.

    Call it before importing either library.
    """
    for name, value in _VARIABLES.items():
        os.environ.setdefault(name, value)
