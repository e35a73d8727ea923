"""What is found in folders: every container that FFmpeg or libsndfile reads, by name or content."""

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
    AUDIO_SUFFIXES,
    CUT_SUFFIXES,
    FILM_SUFFIXES,
    OTHER_SUFFIXES,
    SHARED_SUFFIXES,
    UNFINISHED_SUFFIXES,
)
from stemsplit.library.probe import sounds
from stemsplit.library.scan import scan
from stemsplit.library.signatures import is_sound

if TYPE_CHECKING:
    from pathlib import Path

NO_SOUND = """
    .265 .264 .266 .avc .avs .avs2 .avs3 .apv .cavs .dnxhd .dnxhr .drc .evc .h261 .h263 .h264 .h265
    .h266 .h26l .hevc .ipu .ivf .m1v .m2v .mj2 .mjpeg .mjpg .mpo .obu .rcv .v210 .vc1 .vc2 .vvc
    .y4m .yuv10
    .adf .ans .art .asc .bitpacked .cdata .cdxl .cif .dif .diz .dpx .fits .flm .hdr .ice .idf .im1
    .im24 .im8 .jls .jxs .ljpg .pfm .pgmyuv .phm .pix .qcif .ras .rgb .rs .ser .sgi .sun .sunras
    .vbn .vt .wbmp .xbm .xface .xl .xwd .y .yuv
    .aqt .ffmeta .jss .mcc .mpl2 .pjs .rt .sami .scc .stl .webvtt
"""
"""Demuxers of pictures without sound, of still pictures, and of texts."""

GAMES = """
    .acm .aix .apc .apm .bmv .cgi .cpk .cvg .dav .dtk .fwse .hcom .ifv .imx .lvf .mods .mvi .mxg
    .pdv .roq .sdns .sdr2 .sga .ss2 .svs .swf .tun .txd .v .vpk .yop .sbg
"""
"""Of games, cameras and toys, under names that mean other things on most disks (`.dav`, `.v`)."""

BARE = """
    .302 .722 .al .c2 .g728 .mat .mpc2k .rco .sb .spdif .sw .tco .ty+ .ub .ul .uw
"""
"""Without a header to know them by, so that rate and channels would be guessed; and matrices."""

DECIDED = frozenset(f"{NO_SOUND} {GAMES} {BARE}".split())
FOUND = AUDIO_SUFFIXES | SHARED_SUFFIXES


def _demuxed() -> set[str]:
    found: set[str] = set()
    for name in av.formats_available:
        try:
            container = ContainerFormat(name)
        except ValueError:  # a muxer, in some versions
            continue
        if container.is_input:
            found |= {f".{ending.lower()}" for ending in container.extensions}
    return found


def _sndfile_endings() -> set[str]:
    """Ask libsndfile itself (sf_command SFC_GET_FORMAT_MAJOR) for its endings."""
    library, ffi = soundfile._snd, soundfile._ffi
    count, info = ffi.new("int*"), ffi.new("SF_FORMAT_INFO*")
    library.sf_command(ffi.NULL, 0x1030, count, ffi.sizeof("int"))
    endings = set()
    for number in range(count[0]):
        info.format = number
        library.sf_command(ffi.NULL, 0x1031, info, ffi.sizeof("SF_FORMAT_INFO"))
        endings.add("." + ffi.string(info.extension).decode())
    return endings


def test_no_container_is_forgotten() -> None:
    """Each ending is found, believed to be something else, or decided against by name."""
    read = _demuxed() | _sndfile_endings()
    assert {".avi", ".voc", ".ts", ".w64"} < read
    assert sorted(read - FOUND - OTHER_SUFFIXES - DECIDED) == []


def test_each_ending_means_one_thing() -> None:
    """And those of films are cut from names as those of sound are."""
    kinds = (AUDIO_SUFFIXES, SHARED_SUFFIXES, OTHER_SUFFIXES, UNFINISHED_SUFFIXES, DECIDED)
    for one in kinds:
        assert all(ending == ending.lower() and ending.startswith(".") for ending in one)
        assert not [ending for other in kinds if other is not one for ending in one & other]
    assert FILM_SUFFIXES < CUT_SUFFIXES


ONCE_PASSED_OVER = """
    dff weba voc asf avi mpg m4v 3gp flv aa aax m4p mpeg vob m2ts mxf ogv spx shn ra rm amr awb gsm
    sd2 nist sph pvf w64 bwf mp1 mpa qt divx f4v f4a 3g2 mk3d oma at3 adx aea
"""


@pytest.mark.parametrize("name", ONCE_PASSED_OVER.split())
def test_names_that_were_passed_over(tmp_path: Path, name: str) -> None:
    """Whatever is in them: a file that cannot be read is to fail, and not to be missing."""
    (tmp_path / f"song.{name.upper()}").write_bytes(b"\0")
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


@pytest.mark.parametrize(("ending", "codec", "pictures"), BY_LIBAV)
def test_what_ffmpeg_writes_is_known_by_content(
    tmp_path: Path, ending: str, codec: str, pictures: int
) -> None:
    """Under a name that says nothing."""
    rate = 48_000 if codec == "libopus" else 44_100
    write_libav(tmp_path / f"x.{ending}", NOISE, codec, rate=rate, pictures=pictures)
    (tmp_path / f"x.{ending}").rename(tmp_path / "x.of.2019")
    assert sounds(tmp_path / "x.of.2019")


BY_NAME_ALONE = {"HTK", "MAT4", "MAT5", "MPC2K", "RAW", "SD2", "SDS"}
"""Have nothing to be known by; matrices and headerless samples are not found at all."""


@pytest.mark.parametrize("kind", sorted(set(soundfile.available_formats()) - BY_NAME_ALONE))
def test_what_libsndfile_writes_is_known_by_content(tmp_path: Path, kind: str) -> None:
    """In its usual encoding, of one channel, which all can hold."""
    rate = 8_000 if kind == "WVE" else 44_100
    subtype = {"WVE": "ALAW", "XI": "DPCM_16"}.get(kind)
    soundfile.write(tmp_path / "x", NOISE[:, 0], rate, format=kind, subtype=subtype)
    assert sounds(tmp_path / "x")


def test_mpeg_audio_is_known_by_three_frames_in_a_row() -> None:
    """One frame begins with two bytes that many files begin with."""
    frame = bytes([0xFF, 0xFB, 0x90, 0x64]) + bytes(413)  # 128 kbit/s at 44.1 kHz: 417 bytes
    assert is_sound(frame * 3)
    assert not is_sound(frame * 2)
    assert not is_sound(frame + b"\0" + frame * 2)


DFF = b"FRM8" + struct.pack(">Q", 4000) + b"DSD FVER" + bytes(4000)


@pytest.mark.parametrize(
    ("content", "sound"),
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
def test_what_is_sound_and_what_only_looks_like_it(content: bytes, *, sound: bool) -> None:
    """A folder of TypeScript, notes about music and pictures give no failures."""
    assert is_sound(content[:8192]) is sound
