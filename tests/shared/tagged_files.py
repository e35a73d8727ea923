"""Writes files with tags, and with the faults that tags in real libraries have."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

import mutagen
import mutagen.flac
import mutagen.id3
import mutagen.mp3
import mutagen.mp4
import mutagen.oggopus
import mutagen.oggvorbis
import mutagen.wave
import numpy as np
import PIL.Image
import soundfile
from audio_files import RATE, write_libav

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SONG = np.random.default_rng(0).uniform(-0.2, 0.2, (RATE, 2)).astype(np.float32)
"""One second of noise, `(frames, 2)`."""


def picture(
    image_format: str, size: tuple[int, int] = (64, 64), *, transparent: bool = False
) -> bytes:
    """Return an image of noise, encoded by Pillow: `PNG`, `JPEG`, `WEBP`, `BMP`, `TIFF`, ..."""
    mode, planes = ("RGBA", 4) if transparent else ("RGB", 3)
    random = np.random.default_rng(size[0])
    pixels = random.integers(0, 256, (size[1], size[0], planes), dtype=np.uint8)
    target = io.BytesIO()
    PIL.Image.frombytes(mode, size, pixels.tobytes()).save(target, image_format)
    return target.getvalue()


def png_with_declared_size(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes that declares these dimensions."""

    def chunk(chunk_type: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(chunk_type + data)
        return struct.pack(">I", len(data)) + chunk_type + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(99))
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def flac_picture(
    data: bytes, *, picture_type: int = 3, mime: str = "image/png"
) -> mutagen.flac.Picture:
    """Return a picture block of FLAC and Vorbis comments."""
    block = mutagen.flac.Picture()
    block.data, block.type, block.mime, block.desc = data, picture_type, mime, ""
    return block


def tagged_flac(
    path: Path, pictures: Sequence[mutagen.flac.Picture] = (), **tags: str | list[str]
) -> Path:
    """Write a FLAC file with Vorbis comments and pictures."""
    soundfile.write(path, SONG, RATE)
    file = mutagen.flac.FLAC(path)
    for key, value in tags.items():
        file[key] = value
    for picture_block in pictures:
        file.add_picture(picture_block)
    file.save()
    return path


def tagged_mp3(path: Path, *frames: mutagen.id3.Frame) -> Path:
    """Write an MP3 file with ID3v2.4 frames."""
    soundfile.write(path, SONG, RATE)
    file = mutagen.mp3.MP3(path)
    file.add_tags()
    for frame in frames:
        file[frame.HashKey] = frame
    file.save()
    return path


def tagged_m4a(path: Path, **tags: object) -> Path:
    """Write an M4A file with atoms; `nam` stands for `©nam`."""
    write_libav(path, SONG, "aac")
    file = mutagen.mp4.MP4(path)
    for key, value in tags.items():
        file[key if len(key) == 4 else f"\xa9{key}"] = value
    file.save()
    return path


def m4a_with_a_bad_freeform_atom(path: Path) -> Path:
    """Write an M4A file with an invalid tag, which makes mutagen read none of its tags."""
    tagged_m4a(path, nam="Title", ART=["One", "Two"], trkn=[(3, 12)])
    file = mutagen.mp4.MP4(path)
    file["----:com.apple.iTunes:NOTE"] = b"something"
    file.save()
    data = path.read_bytes()
    # The first part of the freeform atom declares the size of the atom, so no others follow.
    at = data.index(b"----") + 4
    (size,) = struct.unpack(">I", data[at - 8 : at - 4])
    path.write_bytes(data[:at] + struct.pack(">I", size - 8) + data[at + 4 :])
    return path


def info_list(*entries: tuple[bytes, bytes], size: int | None = None) -> bytes:
    """Return a `LIST INFO` chunk; `size` replaces its size in the header."""
    body = b"INFO"
    for key, text in entries:
        body += key + struct.pack("<I", len(text)) + text + bytes(len(text) % 2)
    return b"LIST" + struct.pack("<I", len(body) if size is None else size) + body


def wav_with(path: Path, chunk: bytes, *, data_size: int | None = None) -> Path:
    """Write a WAV file with a chunk after its samples, whose declared size may be wrong.

    Args:
        path: path of the file.
        chunk: the chunk with its header.
        data_size: declared size of the samples; None for the correct one.
    """
    soundfile.write(path, SONG, RATE)
    data = bytearray(path.read_bytes()) + chunk
    data[4:8] = struct.pack("<I", len(data) - 8)
    if data_size is not None:
        at = data.index(b"data") + 4
        data[at : at + 4] = struct.pack("<I", data_size)
    path.write_bytes(data)
    return path


def tags_of(path: Path) -> dict[str, object]:
    """Return the tags that mutagen itself reads: texts, and pictures with their types."""
    file: Any = mutagen.File(path)
    assert file is not None
    if isinstance(file, mutagen.mp4.MP4):
        return {
            "title": file.get("\xa9nam"),
            "artist": file.get("\xa9ART"),
            "albumartist": file.get("aART"),
            "composer": file.get("\xa9wrt"),
            "genre": file.get("\xa9gen"),
            "track": "/".join(str(number) for number in file.get("trkn", [()])[0]),
            "pictures": [(0, bytes(cover)) for cover in file.get("covr", [])],
        }
    if isinstance(file, mutagen.mp3.MP3 | mutagen.wave.WAVE):
        keys = {"title": "TIT2", "artist": "TPE1", "albumartist": "TPE2"}
        keys |= {"composer": "TCOM", "genre": "TCON"}
        return {
            **{name: file[key].text if key in file else None for name, key in keys.items()},
            "track": str(file.get("TRCK", "")),
            "pictures": [
                (int(frame.type), frame.data) for frame in file.values() if frame.FrameID == "APIC"
            ],
        }
    if isinstance(file, mutagen.flac.FLAC):
        pictures = file.pictures
    else:
        found = file.get("metadata_block_picture", [])
        pictures = [mutagen.flac.Picture(base64.b64decode(encoded)) for encoded in found]
    track = [*file.get("tracknumber", [""]), *file.get("tracktotal", [])]
    return {
        **{
            name: file.get(name) for name in ("title", "artist", "albumartist", "composer", "genre")
        },
        "track": "/".join(track),
        "pictures": [(int(block.type), block.data) for block in pictures],
    }
