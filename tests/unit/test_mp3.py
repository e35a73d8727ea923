"""MP3 files with and without a header that declares their length."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile

from stemsplit.audio.containers.find_parts import find_parts
from stemsplit.audio.decode import Decoder

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

RATE = 44_100
APE_TAG = b"".join(
    b"APETAGEX" + (2000).to_bytes(4, "little") + (5032).to_bytes(4, "little") + bytes(16) + rest
    for rest in (bytes(5000), b"")
)
ID3V1_TAG = b"TAG" + bytes(125)


def _signal(seconds: float, *, noisy: bool) -> NDArray[np.float64]:
    frames = round(seconds * RATE)
    if noisy:
        return np.random.default_rng(0).uniform(-0.9, 0.9, (frames, 2))
    tone = 0.1 * np.sin(2 * np.pi * 440 * np.arange(frames) / RATE)
    return np.stack([tone, tone], axis=1)


def _write(path: Path, signal: NDArray[np.float64], *, mode: str, header: bool) -> None:
    """Write an MP3 file, with or without the first frame, which contains the header."""
    soundfile.write(path, signal, RATE, bitrate_mode=mode, compression_level=0.0)
    if not header:
        data = path.read_bytes()
        position = max(data.find(b"Xing"), data.find(b"Info"))
        path.write_bytes(data[data.find(data[:2], position) :])


def _decode(path: Path) -> tuple[int, str]:
    with Decoder(path) as source:
        frames, loss = sum(map(len, source.blocks())), source.loss()
        return frames, "" if loss is None else loss.text


@pytest.mark.parametrize("tag", [b"", b"ID3\x04\x00\x00\x00\x00\x02\x01" + bytes(257)])
def test_the_header_is_found_after_a_tag(tmp_path: Path, tag: bytes) -> None:
    """Only a file with a header is read by libsndfile, with or without an ID3v2 tag."""
    path = tmp_path / "song.mp3"
    for header in (True, False):
        _write(path, _signal(1, noisy=True), mode="VARIABLE", header=header)
        path.write_bytes(tag + path.read_bytes())
        assert find_parts(path)[0].can_use_libsndfile == header


def test_a_song_that_libsndfile_would_truncate_is_read_completely(tmp_path: Path) -> None:
    """After a loud start, libsndfile underestimates the length of a file without a header."""
    path = tmp_path / "loud first.mp3"
    signal = np.concatenate([_signal(3, noisy=True), _signal(20, noisy=False)])
    _write(path, signal, mode="VARIABLE", header=True)
    assert _decode(path) == (len(signal), "")
    _write(path, signal, mode="VARIABLE", header=False)
    assert soundfile.info(path).frames < len(signal) / 2
    frames, warning = _decode(path)
    assert 0 <= frames - len(signal) < 3 * 1152, "whole frames and the encoder's padding"
    assert warning == ""


@pytest.mark.parametrize("tags", [b"", APE_TAG + ID3V1_TAG])
def test_a_constant_bit_rate_needs_no_header(tmp_path: Path, tags: bytes) -> None:
    """Tags are not decoded as audio, and there is no warning."""
    path = tmp_path / "constant.mp3"
    signal = _signal(6, noisy=True)
    _write(path, signal, mode="CONSTANT", header=False)
    path.write_bytes(path.read_bytes() + tags)
    frames, warning = _decode(path)
    assert abs(frames - len(signal)) < 3 * 1152
    assert warning == ""
