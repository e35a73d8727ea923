"""Recognising audio in folders, in every container that FFmpeg or libsndfile reads."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
import soundfile
from audio_files import write_libav
from av.format import ContainerFormat

from stemsplit.library.extensions import (
    AMBIGUOUS_EXTENSIONS,
    AUDIO_EXTENSIONS,
    NON_AUDIO_EXTENSIONS,
    STRIPPED_EXTENSIONS,
    UNFINISHED_EXTENSIONS,
    VIDEO_EXTENSIONS,
)
from stemsplit.library.probe import has_media_head
from stemsplit.library.scan import scan
from stemsplit.library.signatures import is_media_head

if TYPE_CHECKING:
    from pathlib import Path

NO_AUDIO = """
    .265 .264 .266 .avc .avs .avs2 .avs3 .apv .cavs .dnxhd .dnxhr .drc .evc .h261 .h263 .h264 .h265
    .h266 .h26l .hevc .ipu .ivf .m1v .m2v .mj2 .mjpeg .mjpg .mpo .obu .rcv .v210 .vc1 .vc2 .vvc
    .y4m .yuv10
    .adf .ans .art .asc .bitpacked .cdata .cdxl .cif .dif .diz .dpx .fits .flm .hdr .ice .idf .im1
    .im24 .im8 .jls .jxs .ljpg .pfm .pgmyuv .phm .pix .qcif .ras .rgb .rs .ser .sgi .sun .sunras
    .vbn .vt .wbmp .xbm .xface .xl .xwd .y .yuv
    .aqt .ffmeta .jss .mcc .mpl2 .pjs .rt .sami .scc .stl .webvtt
"""
"""Extensions of demuxers for video without audio, still pictures and text."""

GAMES = """
    .acm .aix .apc .apm .bmv .cgi .cpk .cvg .dav .dtk .fwse .hcom .ifv .imx .lvf .mods .mvi .mxg
    .pdv .roq .sdns .sdr2 .sga .ss2 .svs .swf .tun .txd .v .vpk .yop .sbg
"""
"""Extensions of games, cameras and toys, mostly used for other files (`.dav`, `.v`)."""

HEADERLESS = """
    .302 .722 .al .c2 .g728 .mat .mpc2k .rco .sb .spdif .sw .tco .ty+ .ub .ul .uw
"""
"""Extensions of formats without a header, whose sample rate is unknown, and of matrices."""

REJECTED = frozenset(f"{NO_AUDIO} {GAMES} {HEADERLESS}".split())
FOUND = AUDIO_EXTENSIONS | AMBIGUOUS_EXTENSIONS


def _demuxed() -> set[str]:
    found: set[str] = set()
    for name in av.formats_available:
        try:
            container = ContainerFormat(name)
        except ValueError:  # a muxer, in some versions
            continue
        if container.is_input:
            found |= {f".{extension.lower()}" for extension in container.extensions}
    return found


def _sndfile_extensions() -> set[str]:
    """Return the extensions of libsndfile (sf_command SFC_GET_FORMAT_MAJOR)."""
    library, ffi = soundfile._snd, soundfile._ffi
    count, info = ffi.new("int*"), ffi.new("SF_FORMAT_INFO*")
    library.sf_command(ffi.NULL, 0x1030, count, ffi.sizeof("int"))
    extensions = set()
    for number in range(count[0]):
        info.format = number
        library.sf_command(ffi.NULL, 0x1031, info, ffi.sizeof("SF_FORMAT_INFO"))
        extensions.add("." + ffi.string(info.extension).decode())
    return extensions


def test_every_container_is_classified() -> None:
    """Each extension counts as audio or not, or is rejected in this file."""
    readable = _demuxed() | _sndfile_extensions()
    assert {".avi", ".voc", ".ts", ".w64"} < readable
    assert sorted(readable - FOUND - NON_AUDIO_EXTENSIONS - REJECTED) == []


def test_each_extension_has_one_class() -> None:
    """Video extensions are removed from the names of tracks like audio extensions."""
    classes = (
        AUDIO_EXTENSIONS,
        AMBIGUOUS_EXTENSIONS,
        NON_AUDIO_EXTENSIONS,
        UNFINISHED_EXTENSIONS,
        REJECTED,
    )
    for extensions in classes:
        assert all(extension == extension.lower() for extension in extensions)
        assert all(extension.startswith(".") for extension in extensions)
        assert all(extensions.isdisjoint(other) for other in classes if other is not extensions)
    assert VIDEO_EXTENSIONS < STRIPPED_EXTENSIONS


RARE_EXTENSIONS = """
    dff weba voc asf avi mpg m4v 3gp flv aa aax m4p mpeg vob m2ts mxf ogv spx shn ra rm amr awb gsm
    sd2 nist sph pvf w64 bwf mp1 mpa qt divx f4v f4a 3g2 mk3d oma at3 adx aea
"""


@pytest.mark.parametrize("extension", RARE_EXTENSIONS.split())
def test_rare_extensions_are_found(tmp_path: Path, extension: str) -> None:
    """The content does not matter: an unreadable file fails and is not ignored."""
    (tmp_path / f"song.{extension.upper()}").write_bytes(b"\0")
    assert len(scan([tmp_path]).tracks) == 1


NOISE = (np.random.default_rng(3).standard_normal((44_100, 2)) * 0.1).astype(np.float32)

BY_LIBAV = [
    ("3gp", "aac", 25), ("aac", "aac", 0), ("ac3", "ac3", 0), ("adx", "adpcm_adx", 0),
    ("asf", "mp2", 25), ("avi", "mp2", 25), ("caf", "pcm_s16le", 0), ("eac3", "eac3", 0),
    ("f4v", "aac", 0), ("flv", "aac", 0), ("m2ts", "ac3", 0), ("m4a", "aac", 0), ("mka", "mp2", 0),
    ("mov", "pcm_s16le", 25), ("mp2", "mp2", 0), ("mpg", "mp2", 25), ("nut", "mp2", 0),
    ("sox", "pcm_s32le", 0), ("ts", "mp2", 25), ("ts", "aac", 0), ("tta", "tta", 0),
    ("vob", "mp2", 25), ("w64", "pcm_s16le", 0), ("wtv", "mp2", 0),
    ("wv", "wavpack", 0), ("rm", "ac3", 0), ("voc", "pcm_u8", 0), ("webm", "libopus", 0),
]  # fmt: skip


@pytest.mark.parametrize(("extension", "codec", "pictures"), BY_LIBAV)
def test_files_written_by_ffmpeg_are_recognised_by_content(
    tmp_path: Path, extension: str, codec: str, pictures: int
) -> None:
    """Their extension is unknown."""
    rate = 48_000 if codec == "libopus" else 44_100
    write_libav(tmp_path / f"x.{extension}", NOISE, codec, rate=rate, pictures=pictures)
    (tmp_path / f"x.{extension}").rename(tmp_path / "x.of.2019")
    assert has_media_head(tmp_path / "x.of.2019")


WITHOUT_SIGNATURE = {"HTK", "MAT4", "MAT5", "MPC2K", "RAW", "SD2", "SDS"}
"""Formats without a signature; matrices and headerless samples are not found at all."""


@pytest.mark.parametrize("kind", sorted(set(soundfile.available_formats()) - WITHOUT_SIGNATURE))
def test_files_written_by_libsndfile_are_recognised_by_content(tmp_path: Path, kind: str) -> None:
    """They have one channel, which all formats support, in the default encoding."""
    rate = 8_000 if kind == "WVE" else 44_100
    subtype = {"WVE": "ALAW", "XI": "DPCM_16"}.get(kind)
    soundfile.write(tmp_path / "x", NOISE[:, 0], rate, format=kind, subtype=subtype)
    assert has_media_head(tmp_path / "x")


def test_mpeg_audio_is_recognised_by_three_consecutive_frames() -> None:
    """Many other files begin with the sync word of a frame."""
    frame = bytes([0xFF, 0xFB, 0x90, 0x64]) + bytes(413)  # 128 kbit/s at 44.1 kHz: 417 bytes
    assert is_media_head(frame * 3)
    assert not is_media_head(frame * 2)
    assert not is_media_head(frame + b"\0" + frame * 2)


DFF = b"FRM8" + struct.pack(">Q", 4000) + b"DSD FVER" + bytes(4000)


@pytest.mark.parametrize(
    ("content", "is_media"),
    [
        (DFF, True),
        (b"\x47\x40\0\x10" + bytes(184) + (b"\x47\x1f\xff\x10" + bytes(184)) * 4, True),
        (b"ID3\x04\0\0\0\0\0\x0a" + bytes(99), True),
        (b"import { Component } from '@angular/core';\nexport const x = 1;\n" * 50, False),
        (b"GGGGGGGGGGGG" * 800, False),
        (b'<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE TS>\n<TS version="2.1">\n', False),
        ("UTF-16 begins with two bytes like a frame of MPEG's".encode("utf-16") * 9, False),
        (b"MAC addresses of the studio\n", False),
        (b"ID3 tags and what they mean\n", False),
        (b"OggS is the first word of a page\n", False),
        (b"\0\0\0\x20ftypheic" + bytes(99), False),
        (b"\0\0\0\x18ftypcrx " + bytes(99), False),
        (b"RIFF\x20\0\0\0WEBPVP8 " + bytes(99), False),
        (b"RIFF\x20\0\0\0RMIDdata" + bytes(99), False),
        (b"FORM\0\0\x10\0ILBMBMHD" + bytes(99), False),
        (b"MThd\0\0\0\x06" + bytes(99), False),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), False),
        (bytes(8192), False),
        (b"", False),
    ],
)  # fmt: skip
def test_only_audio_and_video_count_as_media(content: bytes, *, is_media: bool) -> None:
    """TypeScript, text about audio and pictures do not."""
    assert is_media_head(content[:8192]) is is_media
