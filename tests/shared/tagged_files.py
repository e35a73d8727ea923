"""Files with the tags, and the faults in them, that people's libraries have."""

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


def picture(kind: str, size: tuple[int, int] = (64, 64), *, transparent: bool = False) -> bytes:
    """Return an image of noise, encoded by Pillow: `PNG`, `JPEG`, `WEBP`, `BMP`, `TIFF`, ..."""
    mode, planes = ("RGBA", 4) if transparent else ("RGB", 3)
    random = np.random.default_rng(size[0])
    pixels = random.integers(0, 256, (size[1], size[0], planes), dtype=np.uint8)
    target = io.BytesIO()
    PIL.Image.frombytes(mode, size, pixels.tobytes()).save(target, kind)
    return target.getvalue()


def png_that_claims(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes that says it has so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(99))
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def flac_picture(data: bytes, *, kind: int = 3, mime: str = "image/png") -> mutagen.flac.Picture:
    """Return a picture as FLAC and Vorbis comments hold it."""
    found = mutagen.flac.Picture()
    found.data, found.type, found.mime, found.desc = data, kind, mime, ""
    return found


def tagged_flac(
    path: Path, pictures: Sequence[mutagen.flac.Picture] = (), **tags: str | list[str]
) -> Path:
    """Write a FLAC file with Vorbis comments and pictures."""
    soundfile.write(path, SONG, RATE)
    file = mutagen.flac.FLAC(path)
    for key, value in tags.items():
        file[key] = value
    for one in pictures:
        file.add_picture(one)
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
    """Write an M4A file with tags, one of which mutagen cannot read, which is why it reads none."""
    tagged_m4a(path, nam="Title", ART=["One", "Two"], trkn=[(3, 12)])
    file = mutagen.mp4.MP4(path)
    file["----:com.apple.iTunes:NOTE"] = b"something"
    file.save()
    data = path.read_bytes()
    # The first part of the freeform atom takes all of it, so that the others are missing.
    at = data.index(b"----") + 4
    (size,) = struct.unpack(">I", data[at - 8 : at - 4])
    path.write_bytes(data[:at] + struct.pack(">I", size - 8) + data[at + 4 :])
    return path


def info_list(*entries: tuple[bytes, bytes], size: int | None = None) -> bytes:
    """Return a `LIST INFO` chunk; its size is the true one if none is given."""
    body = b"INFO"
    for kind, text in entries:
        body += kind + struct.pack("<I", len(text)) + text + bytes(len(text) % 2)
    return b"LIST" + struct.pack("<I", len(body) if size is None else size) + body


def wav_with(path: Path, chunk: bytes, *, data_size: int | None = None) -> Path:
    """Write a WAV file with a chunk behind its samples, and with a size of these that may be wrong.

    Args:
        path: of the file.
        chunk: whole, with its header.
        data_size: what the header of the samples says, if not the truth.
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
    """Return what mutagen itself reads of a file that was written: texts, and pictures' types."""
    file: Any = mutagen.File(path)
    assert file is not None
    if isinstance(file, mutagen.mp4.MP4):
        return {
            "title": file.get("\xa9nam"),
            "artist": file.get("\xa9ART"),
            "albumartist": file.get("aART"),
            "composer": file.get("\xa9wrt"),
            "genre": file.get("\xa9gen"),
            "track": "/".join(str(one) for one in file.get("trkn", [()])[0]),
            "pictures": [(0, bytes(one)) for one in file.get("covr", [])],
        }
    if isinstance(file, mutagen.mp3.MP3 | mutagen.wave.WAVE):
        keys = {"title": "TIT2", "artist": "TPE1", "albumartist": "TPE2"}
        keys |= {"composer": "TCOM", "genre": "TCON"}
        return {
            **{name: file[key].text if key in file else None for name, key in keys.items()},
            "track": str(file.get("TRCK", "")),
            "pictures": [
                (int(one.type), one.data) for one in file.values() if one.FrameID == "APIC"
            ],
        }
    if isinstance(file, mutagen.flac.FLAC):
        pictures = file.pictures
    else:
        found = file.get("metadata_block_picture", [])
        pictures = [mutagen.flac.Picture(base64.b64decode(one)) for one in found]
    track = [*file.get("tracknumber", [""]), *file.get("tracktotal", [])]
    return {
        **{
            name: file.get(name) for name in ("title", "artist", "albumartist", "composer", "genre")
        },
        "track": "/".join(track),
        "pictures": [(int(one.type), one.data) for one in pictures],
    }
