"""Text chunks of WAV, AIFF and CAF files, also with wrong sizes."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

import hypothesis.strategies as st
import pytest
import soundfile
from hypothesis import given
from tagged_files import SONG, info_list, wav_with

from stemsplit.audio.tagging.text_chunks import read_text_chunks
from stemsplit.core.probe import Tags
from stemsplit.library.probe import probe_file

if TYPE_CHECKING:
    from pathlib import Path

ENTRIES = (
    (b"INAM", "Für Elise".encode("cp1252") + b"\0"),
    (b"IART", "Beethoven; Ludwig van €".encode() + b"\0\0"),
    (b"IPRD", b"Bagatelles\0"),
    (b"ICRD", b"1810-04-27\0"),
    (b"IGNR", b"Classical"),
    (b"ITRK", b"3/12\0"),
    (b"ICMT", b"A comment\0"),
    (b"ISFT", b"Some program\0"),
)
TEXTS = {
    "title": ["Für Elise"],
    "artist": ["Beethoven; Ludwig van €"],
    "album": ["Bagatelles"],
    "date": ["1810-04-27"],
    "genre": ["Classical"],
    "track": ["3/12"],
    "comment": ["A comment"],
}


def _read(data: bytes) -> tuple[dict[str, list[str]], bool]:
    found = read_text_chunks(io.BytesIO(data))
    return found.values, found.damaged


@pytest.mark.parametrize("data_size", [None, 0, 2**32 - 1, 44_100, 2**31])
def test_riff_info(tmp_path: Path, data_size: int | None) -> None:
    """Also after a data chunk with a wrong size, as in recordings that were not finalised."""
    path = wav_with(tmp_path / "a.wav", info_list(*ENTRIES), data_size=data_size)
    assert _read(path.read_bytes()) == (TEXTS, False)


def test_riff_info_before_the_samples(tmp_path: Path) -> None:
    """Most programs write it there."""
    soundfile.write(tmp_path / "a.wav", SONG, 44_100)
    data = (tmp_path / "a.wav").read_bytes()
    assert _read(data[:36] + info_list(*ENTRIES) + data[36:]) == (TEXTS, False)


def test_odd_texts_without_padding() -> None:
    """Some programs omit the padding."""
    body = (
        b"INFO" + b"INAM" + struct.pack("<I", 3) + b"abc" + b"IART" + struct.pack("<I", 2) + b"de"
    )
    data = b"RIFF\0\0\0\0WAVE" + b"LIST" + struct.pack("<I", len(body)) + body
    assert _read(data) == ({"title": ["abc"], "artist": ["de"]}, False)


@pytest.mark.parametrize("size", [0, 3, 5, 9, 200, 2**16, 2**31, 2**32 - 1])
@pytest.mark.parametrize("at", [4, 16])
def test_wrong_sizes_are_detected(tmp_path: Path, size: int, at: int) -> None:
    """With a wrong size of the list or of its first text, all texts are read or marked damaged."""
    chunk = bytearray(info_list(*ENTRIES))
    chunk[at : at + 4] = struct.pack("<I", size)
    path = wav_with(tmp_path / "a.wav", bytes(chunk))
    values, damaged = _read(path.read_bytes())
    assert values == TEXTS or damaged


def test_aiff(tmp_path: Path) -> None:
    """The chunks are NAME, AUTH and ANNO."""
    soundfile.write(tmp_path / "a.aiff", SONG, 44_100)
    data = (tmp_path / "a.aiff").read_bytes()
    for kind, text in (
        (b"NAME", b"Title"),
        (b"AUTH", b"Some"),
        (b"ANNO", b"One"),
        (b"ANNO", b"Two"),
    ):
        data += kind + struct.pack(">I", len(text)) + text + bytes(len(text) % 2)
    assert _read(data) == (
        {"title": ["Title"], "artist": ["Some"], "comment": ["One", "Two"]},
        False,
    )


def test_caf(tmp_path: Path) -> None:
    """`info` has its own keys; path templates use them."""
    path = tmp_path / "a.caf"
    soundfile.write(path, SONG, 44_100)
    texts = b"title\0T\xc3\xaate\0artist\0Some\0approximate duration in seconds\x001\0"
    info = struct.pack(">I", 3) + texts
    data = path.read_bytes()
    first = 8 + 12 + 32  # the header and the first chunk, `desc`
    chunk = b"info" + struct.pack(">Q", len(info)) + info
    path.write_bytes(data[:first] + chunk + data[first:])
    assert _read(path.read_bytes()) == ({"title": ["Tête"], "artist": ["Some"]}, False)
    assert probe_file(path, path.stat()).tags == Tags(title="Tête", artist="Some")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [b"LIST", b"fmt ", b"data", b"INAM", b"INFO", b"ds64", b"NAME", b"info"]
            ),
            st.integers(0, 2**32 - 1) | st.integers(0, 40),
            st.binary(max_size=40),
        ),
        max_size=8,
    ),
    st.sampled_from(
        [b"RIFF\0\0\0\0WAVE", b"RF64\0\0\0\0WAVE", b"FORM\0\0\0\0AIFF", b"caff\0\1\0\0"]
    ),
)
def test_arbitrary_chunks_raise_nothing(
    chunks: list[tuple[bytes, int, bytes]], head: bytes
) -> None:
    """Identifiers, sizes and contents are arbitrary."""
    form = "<I" if head[:2] == b"RI" or head[:2] == b"RF" else ">I"
    data = head + b"".join(kind + struct.pack(form, size) + body for kind, size, body in chunks)
    for texts in read_text_chunks(io.BytesIO(data)).values.values():
        assert all(texts)


def test_text_chunks_are_probed(tmp_path: Path) -> None:
    """The probe returns them like ID3 tags."""
    path = wav_with(tmp_path / "a.wav", info_list(*ENTRIES))
    assert probe_file(path, path.stat()).tags == Tags(
        title="Für Elise",
        artist="Beethoven; Ludwig van €",
        album="Bagatelles",
        genre="Classical",
        track=3,
        year=1810,
    )
    assert probe_file(path, path.stat()).seconds == pytest.approx(1.0)


def test_text_chunks_are_read_if_mutagen_rejects_the_file(tmp_path: Path) -> None:
    """The first chunk of this WAV file is invalid."""
    data = wav_with(tmp_path / "a.wav", info_list(*ENTRIES)).read_bytes()
    broken = tmp_path / "b.wav"
    broken.write_bytes(data.replace(b"fmt ", b"fmt_"))
    assert probe_file(broken, broken.stat()).tags.title == "Für Elise"
