"""MP3 files that do not say how long they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile

from stemsplit.audio.containers.find_parts import survey
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


def _sound(seconds: float, *, noisy: bool) -> NDArray[np.float64]:
    frames = round(seconds * RATE)
    if noisy:
        return np.random.default_rng(0).uniform(-0.9, 0.9, (frames, 2))
    tone = 0.1 * np.sin(2 * np.pi * 440 * np.arange(frames) / RATE)
    return np.stack([tone, tone], axis=1)


def _write(path: Path, sound: NDArray[np.float64], *, mode: str, header: bool) -> None:
    """Write an MP3; without `header`, its first frame, which is the header, is left out."""
    soundfile.write(path, sound, RATE, bitrate_mode=mode, compression_level=0.0)
    if not header:
        data = path.read_bytes()
        mark = max(data.find(b"Xing"), data.find(b"Info"))
        path.write_bytes(data[data.find(data[:2], mark) :])


def _decode(path: Path) -> tuple[int, str]:
    with Decoder(path) as source:
        frames, loss = sum(map(len, source.blocks())), source.loss()
        return frames, "" if loss is None else loss.text


@pytest.mark.parametrize("tag", [b"", b"ID3\x04\x00\x00\x00\x00\x02\x01" + bytes(257)])
def test_finds_the_header_behind_a_tag(tmp_path: Path, tag: bytes) -> None:
    """With or without an ID3v2 tag before it, and only if it is there."""
    path = tmp_path / "song.mp3"
    for header in (True, False):
        _write(path, _sound(1, noisy=True), mode="VARIABLE", header=header)
        path.write_bytes(tag + path.read_bytes())
        assert survey(path)[0].is_for_libsndfile == header


def test_a_song_that_libsndfile_would_cut_short_is_read_whole(tmp_path: Path) -> None:
    """A loud start makes libsndfile think the file short; never a stem of a part of it."""
    path = tmp_path / "loud first.mp3"
    sound = np.concatenate([_sound(3, noisy=True), _sound(20, noisy=False)])
    _write(path, sound, mode="VARIABLE", header=True)
    assert _decode(path) == (len(sound), "")
    _write(path, sound, mode="VARIABLE", header=False)
    assert soundfile.info(path).frames < len(sound) / 2
    frames, warning = _decode(path)
    assert 0 <= frames - len(sound) < 3 * 1152, "whole frames, and what the encoder put before"
    assert warning == ""


@pytest.mark.parametrize("tags", [b"", APE_TAG + ID3V1_TAG])
def test_a_constant_bit_rate_needs_no_header(tmp_path: Path, tags: bytes) -> None:
    """All is read, tags are no audio, and nothing is called missing."""
    path = tmp_path / "constant.mp3"
    sound = _sound(6, noisy=True)
    _write(path, sound, mode="CONSTANT", header=False)
    path.write_bytes(path.read_bytes() + tags)
    frames, warning = _decode(path)
    assert abs(frames - len(sound)) < 3 * 1152
    assert warning == ""
