"""Awkward files: containers and codecs with wrong headers or damage, and the expected results.

The expected audio is known by construction: which excerpt of which recording is at which time.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from audio_files import write_libav
from av.stream import Disposition
from recordings import RATE, SECONDS, libav, recording, sndfile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    Make = Callable[..., bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpt:
    """An excerpt of a recording that must be in the output.

    Attributes:
        recording: name of the recording.
        first: start in the recording, in seconds.
        seconds: duration.
        at: start in the output, in seconds.
    """

    recording: str
    first: float
    seconds: float
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AwkwardFile:
    """An awkward file.

    Attributes:
        name: name of the file.
        make: returns the content of the file, given a folder for temporary files.
        seconds: duration of the output; 0 if only its excerpts are known.
        excerpts: excerpts that the output must contain.
        reason: `done`, or why the file must fail.
        warned: kinds of the expected warnings.
        slack: how much later the audio may be, and how much longer the output, in seconds: for
            padding that encoders add and do not declare.
    """

    name: str
    make: Make
    seconds: float = SECONDS
    excerpts: tuple[Excerpt, ...] = ()
    reason: str = "done"
    warned: frozenset[str] = frozenset()
    slack: float = 0.05


def audio(
    recording: str = "a", at: float = 0.0, first: float = 0.0, seconds: float = SECONDS
) -> Excerpt:
    """Return an excerpt; by default, a whole recording."""
    return Excerpt(recording=recording, first=first, seconds=seconds, at=at)


DAMAGED = frozenset({"damaged"})
NOTED = frozenset({"note"})
ID3V1 = b"TAG" + bytes(125)
ID3V2 = b"ID3\x04\x00\x00\x00\x00\x02\x01" + bytes(257)
APE = b"".join(
    b"APETAGEX" + (2000).to_bytes(4, "little") + (5032).to_bytes(4, "little") + bytes(4) + flags
    for flags in (b"\0\0\0\xa0" + bytes(8) + bytes(5000), b"\0\0\0\x80" + bytes(8))
)
LYRICS = b"LYRICSBEGININD0000200LYR00010hm, hm, hm" + b"000048LYRICS200" + ID3V1


def _cut(data: bytes, share: float) -> bytes:
    return data[: round(len(data) * share)]


def _damage(data: bytes, at: float, count: int, fill: bytes = b"") -> bytes:
    """Overwrite `count` bytes with garbage, or with repetitions of `fill`."""
    first = round(len(data) * at)
    replacement = (fill * count)[:count] or random.Random(0).randbytes(count)  # noqa: S311 - reproducible
    return data[:first] + replacement + data[first + count :]


# -- chunk-based containers

CHUNKED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "wav": ("WAV", "PCM_16", {}),
    "24.wav": ("WAV", "PCM_24", {}),
    "float.wav": ("WAV", "FLOAT", {}),
    "8.wav": ("WAV", "PCM_U8", {}),
    "ulaw.wav": ("WAV", "ULAW", {}),
    "extensible.wav": ("WAVEX", "PCM_16", {}),
    "big.wav": ("WAV", "PCM_16", {"endian": "BIG"}),
    "rf64": ("RF64", "PCM_16", {}),
    "w64": ("W64", "PCM_16", {}),
    "aiff": ("AIFF", "PCM_16", {}),
    "24.aiff": ("AIFF", "PCM_24", {}),
    "little.aiff": ("AIFF", "PCM_16", {"endian": "LITTLE"}),
    "caf": ("CAF", "PCM_16", {}),
    "float.caf": ("CAF", "FLOAT", {}),
    "au": ("AU", "PCM_16", {}),
    "24.au": ("AU", "PCM_24", {}),
}


def _encoded(variant: str, recording: str = "a") -> bytes:
    container, subtype, options = CHUNKED[variant]
    return sndfile(recording, container, subtype, **options)


def _size_field(variant: str, data: bytes) -> tuple[int, str, int]:
    """Return the offset and format of the size of the samples, and the other bytes it includes."""
    ext = variant.rpartition(".")[2]
    if ext == "rf64":
        return data.index(b"ds64") + 16, "<Q", 0
    if ext == "w64":
        return data.index(b"data\xf3\xac") + 16, "<q", 24
    if ext == "aiff":
        return data.index(b"SSND") + 4, ">I", 8
    if ext == "caf":
        return data.index(b"data") + 4, ">q", 4
    if ext == "au":
        return 8, ">I", 0
    return data.index(b"data") + 4, ">I" if variant == "big.wav" else "<I", 0


def _with_size(variant: str, share: float | None) -> bytes:
    """Encode a file whose declared size is scaled by `share`; None for "unknown"."""
    data = bytearray(_encoded(variant))
    at, code, included = _size_field(variant, data)
    (size,) = struct.unpack_from(code, data, at)
    if share is None:
        data[at : at + struct.calcsize(code)] = b"\xff" * struct.calcsize(code)
    else:
        declared = int((size - included) * share)
        struct.pack_into(code, data, at, declared + included if declared else 0)
    return bytes(data)


def _with_chunk(variant: str, name: bytes, text: bytes, size: int) -> bytes:
    order = ">I" if variant == "big.wav" or variant.endswith("aiff") else "<I"
    data = _encoded(variant)
    return data + bytes(len(data) % 2) + name + struct.pack(order, size) + text


def _with_leading_junk(variant: str) -> bytes:
    """Insert an empty chunk, and one of an odd size, before the format chunk."""
    order = ">I" if variant == "big.wav" else "<I"
    data = _encoded(variant)
    junk = b"JUNK" + struct.pack(order, 3) + b"abc\0" + b"PAD " + struct.pack(order, 0)
    return data[:12] + junk + data[12:]


def _chunked(variant: str) -> Iterator[AwkwardFile]:
    ext = variant.rpartition(".")[2]
    name = variant.removesuffix(f".{ext}") if "." in variant else ext

    def file(fault: str, make: Callable[..., bytes], **expected: Any) -> AwkwardFile:  # noqa: ANN401 - of AwkwardFile
        expected.setdefault("excerpts", (audio(),))
        return AwkwardFile(name=f"{name} {fault}.{ext}", make=lambda _: make(), **expected)

    yield file("declared size 0", partial(_with_size, variant, 0))
    yield file("declared size quartered", partial(_with_size, variant, 0.25))
    if ext != "rf64":  # where it would mean "see ds64"
        yield file("declared size unknown", partial(_with_size, variant, None))
    yield file(
        "declared size doubled", partial(_with_size, variant, 2.0), reason="damaged", warned=DAMAGED
    )
    yield file(
        "cut by 2 percent", lambda: _cut(_encoded(variant), 0.98), warned=DAMAGED,
        seconds=0.98 * SECONDS, excerpts=(audio(seconds=0.97 * SECONDS),),
    )  # fmt: skip
    yield file(
        "cut by 40 percent", lambda: _cut(_encoded(variant), 0.6), warned=DAMAGED, reason="damaged",
        seconds=0.6 * SECONDS, excerpts=(audio(seconds=0.59 * SECONDS),),
    )  # fmt: skip
    if ext not in {"wav", "aiff"}:
        return
    yield file("trailing chunk", lambda: _with_chunk(variant, b"LIST", bytes(64), 64))
    yield file("trailing odd chunk", lambda: _with_chunk(variant, b"odd ", b"xyz", 3))
    yield file("trailing oversized chunk", lambda: _with_chunk(variant, b"LIST", bytes(64), 10**6))
    yield file(
        "trailing picture",
        lambda: _encoded(variant) + random.Random(0).randbytes(100_000),  # noqa: S311 - reproducible
    )
    yield file("trailing ID3v1", lambda: _encoded(variant) + ID3V1)
    yield file("trailing zeros", lambda: _encoded(variant) + bytes(100_000))
    yield file(
        "joined", lambda: _encoded(variant) + _encoded(variant, "b"), seconds=2 * SECONDS,
        excerpts=(audio(), audio("b", SECONDS)),
    )  # fmt: skip
    if ext == "wav":
        yield file("leading junk", partial(_with_leading_junk, variant))


# -- streams of frames


def _mp3(recording: str = "a", mode: str = "CONSTANT", **options: Any) -> bytes:  # noqa: ANN401 - of libsndfile
    return sndfile(
        recording, "MP3", "MPEG_LAYER_III", bitrate_mode=mode, compression_level=0.2, **options
    )


def _xing_at(data: bytes) -> int:
    return max(data.find(b"Xing"), data.find(b"Info"))


def _without_header(data: bytes) -> bytes:
    """Remove the first frame, which is a header without audio."""
    return data[data.index(data[:2], _xing_at(data)) :]


def _with_count(data: bytes, share: float) -> bytes:
    """Scale the declared number of frames."""
    at = _xing_at(data) + 8
    count = int.from_bytes(data[at : at + 4], "big")
    return data[:at] + round(count * share).to_bytes(4, "big") + data[at + 4 :]


def _with_vbri(data: bytes) -> bytes:
    """Replace the header by one of Fraunhofer's encoder."""
    at = _xing_at(data)
    count = int.from_bytes(data[at + 8 : at + 12], "big")
    rest = _without_header(data)
    frame = data[: len(data) - len(rest)]
    head = bytearray(len(frame))
    head[:4] = frame[:4]
    vbri = b"VBRI" + struct.pack(">HHHIIHHHH", 1, 1105, 75, len(data), count, 0, 1, 2, 1)
    head[36 : 36 + len(vbri)] = vbri
    return bytes(head) + rest


def _mp3s() -> Iterator[AwkwardFile]:
    def file(name: str, make: Callable[..., bytes], **expected: Any) -> AwkwardFile:  # noqa: ANN401 - of AwkwardFile
        expected.setdefault("excerpts", (audio(),))
        return AwkwardFile(name=f"{name}.mp3", make=lambda _: make(), **expected)

    for mode in ("CONSTANT", "VARIABLE"):
        name = mode.lower()
        two = (audio(), audio("b", SECONDS))
        around = (
            audio(seconds=0.45 * SECONDS),
            audio(at=0.6 * SECONDS, first=0.6 * SECONDS, seconds=0.4 * SECONDS),
        )
        encode = partial(_mp3, mode=mode)
        yield file(f"{name} valid", encode)
        yield file(f"{name} without header", lambda e=encode: _without_header(e()))
        yield file(f"{name} VBRI", lambda e=encode: _with_vbri(e()))
        yield file(f"{name} frame count 0", lambda e=encode: _with_count(e(), 0))
        yield file(f"{name} frame count halved", lambda e=encode: _with_count(e(), 0.5))
        yield file(
            f"{name} frame count doubled", lambda e=encode: _with_count(e(), 2.0), warned=DAMAGED,
            reason="damaged",
        )  # fmt: skip
        yield file(
            f"{name} joined", lambda e=encode: e() + e("b"), seconds=2 * SECONDS, excerpts=two
        )
        yield file(
            f"{name} joined without header", lambda e=encode: e() + _without_header(e("b")),
            seconds=2 * SECONDS, excerpts=two,
        )  # fmt: skip
        yield file(
            f"{name} joined with tags between", lambda e=encode: e() + ID3V1 + ID3V2 + e("b"),
            seconds=2 * SECONDS, excerpts=two,
        )  # fmt: skip
        yield file(f"{name} two leading tags", lambda e=encode: ID3V2 + ID3V2 + e())
        yield file(f"{name} trailing APE tag", lambda e=encode: e() + APE + ID3V1)
        yield file(f"{name} trailing lyrics", lambda e=encode: e() + LYRICS)
        yield file(
            f"{name} cut by 2 percent", lambda e=encode: _cut(e(), 0.975), warned=DAMAGED,
            seconds=0.975 * SECONDS, excerpts=(audio(seconds=0.95 * SECONDS),),
        )  # fmt: skip
        yield file(
            f"{name} cut by 40 percent", lambda e=encode: _cut(e(), 0.6), warned=DAMAGED,
            reason="damaged", seconds=0.6 * SECONDS, excerpts=(audio(seconds=0.55 * SECONDS),),
        )  # fmt: skip
        for what, fill in (("garbage", b""), ("zeros", b"\0")):
            yield file(
                f"{name} {what} inside", lambda e=encode, f=fill: _damage(e(), 0.5, 2000, f),
                warned=DAMAGED,
                excerpts=around,
            )  # fmt: skip
        yield file(
            f"{name} garbage inside, no header",
            lambda e=encode: _damage(_without_header(e()), 0.5, 2000), warned=DAMAGED,
            excerpts=around,
        )  # fmt: skip
    for number, change in enumerate(({"rate": 22_050}, {"rate": 48_000}, {"channels": 1})):
        yield file(
            f"joined with another format {number}", lambda c=change: _mp3() + _mp3("b", **c),
            seconds=2 * SECONDS, excerpts=(audio(), audio("b", SECONDS)), warned=NOTED,
        )  # fmt: skip
        yield file(f"another format {number}", lambda c=change: _mp3(**c))
        yield file(
            f"another format {number} frame count halved",
            lambda c=change: _with_count(_mp3(**c), 0.5),
        )
    yield file(
        "inserted garbage",
        lambda: _mp3()[:30_000] + random.Random(1).randbytes(3000) + _mp3()[30_000:],  # noqa: S311 - reproducible
    )


def _streams() -> Iterator[AwkwardFile]:
    """Yield files of AAC, AC-3 and MP2, which have no header."""
    for ext, codec in (("aac", "aac"), ("ac3", "ac3"), ("mp2", "mp2")):

        def encode(
            folder: Path,
            recording: str = "a",
            ext: str = ext,
            codec: str = codec,
            **options: Any,  # noqa: ANN401 - of `libav`
        ) -> bytes:
            return libav(folder, recording, f"{recording}.{ext}", codec, **options)

        def file(name: str, make: Make, ext: str = ext, **expected: Any) -> AwkwardFile:  # noqa: ANN401 - of AwkwardFile
            expected.setdefault("excerpts", (audio(),))
            return AwkwardFile(name=f"{ext} {name}.{ext}", make=make, **expected)

        yield file("valid", encode)
        yield file(
            "joined", lambda at, e=encode: e(at) + e(at, "b"), seconds=2 * SECONDS,
            excerpts=(audio(), audio("b", SECONDS)), slack=0.1,
        )  # fmt: skip
        yield file(
            "joined with another rate", lambda at, e=encode: e(at) + e(at, "b", rate=48_000),
            seconds=2 * SECONDS, excerpts=(audio(), audio("b", SECONDS)), warned=NOTED, slack=0.1,
        )  # fmt: skip
        yield file("leading tag", lambda at, e=encode: ID3V2 + e(at))
        yield file(
            "garbage inside", lambda at, e=encode: _damage(e(at), 0.5, 3000),
            warned=DAMAGED, reason="damaged" if ext == "aac" else "done",
            excerpts=(audio(seconds=0.4 * SECONDS),
                      audio(at=0.65 * SECONDS, first=0.65 * SECONDS, seconds=0.35 * SECONDS)),
        )  # fmt: skip
        yield file(
            "cut", lambda at, e=encode: _cut(e(at), 0.601), seconds=0.6 * SECONDS, warned=DAMAGED,
            excerpts=(audio(seconds=0.55 * SECONDS),),
        )  # fmt: skip


# -- FLAC


def _flac(recording: str = "a", rate: int = RATE) -> bytes:
    return sndfile(recording, "FLAC", "PCM_16", rate)


def _with_total(data: bytes, share: float) -> bytes:
    """Scale the declared number of samples, 36 bits in STREAMINFO."""
    total = int.from_bytes(data[21:26], "big")
    high, samples = total >> 36 << 36, total & (1 << 36) - 1
    return data[:21] + (high | int(samples * share)).to_bytes(5, "big") + data[26:]


def _flacs() -> Iterator[AwkwardFile]:
    def file(name: str, make: Callable[..., bytes], **expected: Any) -> AwkwardFile:  # noqa: ANN401 - of AwkwardFile
        expected.setdefault("excerpts", (audio(),))
        return AwkwardFile(name=f"{name}.flac", make=lambda _: make(), **expected)

    two = (audio(), audio("b", SECONDS))
    around = (
        audio(seconds=0.4 * SECONDS),
        audio(at=0.65 * SECONDS, first=0.65 * SECONDS, seconds=0.35 * SECONDS),
    )
    yield file("total 0", lambda: _with_total(_flac(), 0))
    yield file("total halved", lambda: _with_total(_flac(), 0.5))
    yield file("total doubled", lambda: _with_total(_flac(), 2), warned=DAMAGED, reason="damaged")
    yield file("joined", lambda: _flac() + _flac("b"), seconds=2 * SECONDS, excerpts=two)
    yield file(
        "the same twice", lambda: _flac() + _flac(), seconds=2 * SECONDS,
        excerpts=(audio(), audio("a", SECONDS)),
    )  # fmt: skip
    yield file(
        "joined with another rate", lambda: _flac() + _flac("b", 48_000), seconds=2 * SECONDS,
        excerpts=two, warned=NOTED,
    )  # fmt: skip
    yield file("leading tag", lambda: ID3V2 + _flac())
    yield file("trailing tags", lambda: _flac() + APE + ID3V1)
    yield file(
        "leading tag, total halved, trailing tags",
        lambda: ID3V2 + _with_total(_flac(), 0.5) + ID3V1,
    )
    yield file(
        "garbage inside", lambda: _damage(_flac(), 0.5, 40_000), warned=DAMAGED, excerpts=around,
        reason="damaged",
    )  # fmt: skip
    yield file(
        "a little garbage inside",
        lambda: _damage(_flac(), 0.5, 3),
        warned=DAMAGED,
        excerpts=around,
    )
    yield file(
        "one byte", lambda: _damage(_flac(), 0.5, 1, b"\x55"), warned=DAMAGED, excerpts=around
    )
    yield file(
        "garbage inside, total 0", lambda: _damage(_with_total(_flac(), 0), 0.5, 30),
        warned=DAMAGED, excerpts=around,
    )  # fmt: skip
    yield file(
        "cut by 40 percent", lambda: _cut(_flac(), 0.6), warned=DAMAGED, reason="damaged",
        seconds=0, excerpts=(audio(seconds=0.5 * SECONDS),),
    )  # fmt: skip


# -- Ogg


def _pages(data: bytes) -> list[bytes]:
    found = data.split(b"OggS")[1:]
    return [b"OggS" + page for page in found]


def _without_page(data: bytes, number: int) -> bytes:
    pages = _pages(data)
    return b"".join(pages[:number] + pages[number + 1 :])


def _oggs() -> Iterator[AwkwardFile]:
    encoders: dict[str, Callable[..., bytes]] = {
        "ogg": partial(sndfile, container="OGG", subtype="VORBIS"),
        "opus": partial(sndfile, container="OGG", subtype="OPUS", rate=48_000),
    }
    for ext, encode in encoders.items():

        def file(
            name: str,
            make: Callable[..., bytes],
            ext: str = ext,
            **expected: Any,  # noqa: ANN401 - of AwkwardFile
        ) -> AwkwardFile:
            expected.setdefault("excerpts", (audio("a"),))
            return AwkwardFile(name=f"{ext} {name}.{ext}", make=lambda _: make(), **expected)

        two = (audio("a"), audio("b", SECONDS))
        yield file("chain", lambda e=encode: e("a") + e("b"), seconds=2 * SECONDS, excerpts=two)
        yield file(
            "chain of three", lambda e=encode: e("a") + e("b") + e("c"), seconds=3 * SECONDS,
            excerpts=(*two, audio("c", 2 * SECONDS)),
        )  # fmt: skip
        yield file(
            "chain with junk between", lambda e=encode: e("a") + bytes(range(256)) * 9 + e("b"),
            seconds=2 * SECONDS, excerpts=two,
        )  # fmt: skip
        yield file(
            "chain to mono", lambda e=encode: e("a") + e("b", channels=1), seconds=2 * SECONDS,
            excerpts=two, warned=NOTED,
        )  # fmt: skip
        if ext == "ogg":
            yield file(
                "chain to another rate", lambda e=encode: e("a") + e("b", rate=48_000),
                seconds=2 * SECONDS, excerpts=two, warned=NOTED,
            )  # fmt: skip
        yield file("leading junk", lambda e=encode: bytes(100) + e("a"))
        yield file(
            "without its first audio page", lambda e=encode: _without_page(e("a"), 2),
            warned=DAMAGED, reason="damaged", seconds=0, slack=0.1,
            excerpts=(audio(first=0.6 * SECONDS, at=0.6 * SECONDS, seconds=0.4 * SECONDS),),
        )  # fmt: skip
        yield file(
            "without its last page", lambda e=encode: b"".join(_pages(e("a"))[:-1]), warned=DAMAGED,
            seconds=0, excerpts=(audio(seconds=0.3 * SECONDS),),
        )  # fmt: skip
        yield file(
            "cut, then chained", lambda e=encode: _cut(e("a"), 0.7) + e("b"), warned=DAMAGED,
            seconds=0, excerpts=(audio(seconds=0.3 * SECONDS),),
        )  # fmt: skip


# -- containers with timestamps


def _late(folder: Path, ext: str, seconds: float) -> bytes:
    """Return a film whose timestamps in the second half are later by `seconds`."""
    source = folder / f"source of late {ext}.mka"
    source.write_bytes(libav(folder, "a", "source.mka", "aac"))
    path = folder / f"late.{ext}"
    with av.open(source) as film, av.open(path, "w") as output:
        stream: Any = film.streams.audio[0]
        target: Any = output.add_stream_from_template(stream)
        for packet in film.demux(stream):
            if packet.pts is None or packet.dts is None or packet.time_base is None:
                continue
            if packet.pts * packet.time_base >= SECONDS / 2:
                packet.pts += int(seconds / packet.time_base)
                packet.dts += int(seconds / packet.time_base)
            packet.stream = target
            output.mux(packet)
    return path.read_bytes()


def _remuxed(
    folder: Path, ext: str, codec: str, lost: tuple[float, float], **options: str
) -> bytes:
    """Return a film without the packets between two times."""
    source = folder / f"source of {ext}.mka"
    source.write_bytes(libav(folder, "a", "source.mka", codec))
    path = folder / f"remuxed.{ext}"
    with av.open(source) as film, av.open(path, "w", options=options) as output:
        stream: Any = film.streams.audio[0]
        target: Any = output.add_stream_from_template(stream)
        for packet in film.demux(stream):
            if packet.pts is None or packet.time_base is None:
                continue
            if lost[0] <= packet.pts * packet.time_base < lost[1]:
                continue
            packet.stream = target
            output.mux(packet)
    return path.read_bytes()


def _tracks(folder: Path, ext: str, default: int, languages: Sequence[str] = ()) -> bytes:
    """Return a film with recordings a and b as audio tracks; `default` is the default one."""
    path = folder / f"tracks.{ext}"
    with av.open(path, "w") as output:
        streams: list[Any] = []
        for number in range(2):
            stream: Any = output.add_stream("aac", rate=RATE, layout="stereo")
            stream.bit_rate = (128_000, 256_000)[number]
            if languages:
                stream.metadata["language"] = languages[number]
            stream.disposition = Disposition.default if number == default else Disposition(0)
            streams.append(stream)
        for stream, name in zip(streams, ("a", "b"), strict=True):
            frame = av.AudioFrame.from_ndarray(
                recording(name).reshape(1, -1), format="flt", layout="stereo"
            )
            frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
            output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    return path.read_bytes()


def _wma(folder: Path) -> bytes:
    return libav(folder, "a", "plain.wma", "wmav2", bit_rate=192_000)


def _films() -> Iterator[AwkwardFile]:
    gap = (1.5, 2.0)
    around = (
        audio(seconds=1.4),
        audio(at=2.1, first=2.1, seconds=1.8),
    )
    for ext, codec in (
        ("mka", "flac"), ("mka", "pcm_s16le"), ("mkv", "aac"), ("mkv", "ac3"), ("mkv", "mp2"),
        ("webm", "libopus"), ("m4a", "aac"), ("m4a", "alac"), ("mov", "pcm_s16le"),
        ("ts", "aac"), ("ts", "mp2"), ("flv", "aac"),
    ):  # fmt: skip
        rate = 48_000 if codec == "libopus" else RATE
        yield AwkwardFile(
            name=f"{codec} valid.{ext}",
            make=lambda at, e=ext, c=codec, r=rate: libav(at, "a", f"plain.{e}", c, r),
            excerpts=(audio(),),
        )
        if codec == "libopus" or ext == "mov":  # PCM in MOV has no timestamps
            continue
        yield AwkwardFile(
            name=f"{codec} gap.{ext}",
            make=lambda at, e=ext, c=codec: _remuxed(at, e, c, gap),
            excerpts=around, warned=DAMAGED, reason="damaged",
        )  # fmt: skip
    for ext, pictures in (("mpg", 0), ("mpg", 100), ("vob", 100)):
        codec = "ac3" if ext == "vob" else "mp2"
        yield AwkwardFile(
            name=f"{codec} with {pictures} pictures.{ext}",
            make=lambda at, e=ext, c=codec, p=pictures: libav(at, "a", f"p.{e}", c, pictures=p),
            excerpts=(audio(),), slack=0.1,
        )  # fmt: skip
    yield AwkwardFile(
        name="pcm cut.avi",
        make=lambda at: _cut(libav(at, "a", "plain.avi", "pcm_s16le"), 0.6),
        seconds=0, excerpts=(audio(seconds=0.5 * SECONDS),), warned=DAMAGED, reason="damaged",
    )  # fmt: skip
    yield AwkwardFile(
        name="gap of 20 s.mkv",
        make=lambda at: _late(at, "mkv", 20.0), seconds=20.0 + SECONDS,
        excerpts=(audio(seconds=1.9), audio(first=2.1, at=22.1, seconds=1.8)),
        warned=DAMAGED, reason="damaged",
    )  # fmt: skip
    yield AwkwardFile(
        name="timestamps restarted after 20 s.ts",
        make=lambda at: _late(at, "ts", 20.0), warned=NOTED, slack=0.1,
        excerpts=(audio(seconds=1.9), audio(first=2.1, at=2.1, seconds=1.8)),
    )  # fmt: skip
    for share in (0.9, 0.6):
        yield AwkwardFile(
            name=f"cut to {share}.wma",
            make=lambda at, s=share: _cut(_wma(at), s),
            seconds=0, excerpts=(audio(seconds=(share - 0.15) * SECONDS),), warned=DAMAGED,
            reason="damaged",
        )  # fmt: skip
    yield AwkwardFile(
        name="valid.wma",
        make=_wma,
        excerpts=(audio(),), slack=0.1,
    )  # fmt: skip
    yield AwkwardFile(
        name="cut, with its index at the end.m4a",
        make=lambda at: _cut(libav(at, "a", "plain.m4a", "aac"), 0.9),
        reason="bad_input",
    )
    yield AwkwardFile(
        name="fragments.mp4",
        make=lambda at: libav(at, "a", "fragments.mp4", "aac",
                              movflags="frag_keyframe+empty_moov+default_base_moof"),
        excerpts=(audio(),),
    )  # fmt: skip
    for ext in ("mkv", "m4a"):
        for default in (0, 1):
            yield AwkwardFile(
                name=f"track {default + 1} of 2 is the default.{ext}",
                make=lambda at, e=ext, d=default: _tracks(at, e, d),
                excerpts=(audio("ab"[default]),), warned=NOTED,
            )  # fmt: skip


# -- misleading headers and extensions


def as_pcm(data: bytes) -> bytes:
    """Return data after the header of a 16-bit WAV file."""
    data += bytes(-len(data) % 4)
    form = struct.pack("<HHIIHH", 1, 2, RATE, RATE * 4, 4, 16)
    return (
        b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<I", 16) + form
        + b"data" + struct.pack("<I", len(data)) + data
    )  # fmt: skip


def _protected(folder: Path, entry_type: bytes) -> bytes:
    data = libav(folder, "a", "plain.m4a", "aac")
    return data.replace(b"mp4a", entry_type, 1)


def _noise(path: Path) -> bytes:
    """Return full-scale noise as PCM in a film."""
    bits = random.Random(0).randbytes(800_000)  # noqa: S311 - reproducible
    samples = np.frombuffer(bits, np.int16).reshape(-1, 2) / np.float32(2**15)
    write_libav(path, samples.astype(np.float32), "pcm_s16le")
    return path.read_bytes()


def _disguised() -> Iterator[AwkwardFile]:
    names = (("ac3", "ac3"), ("mp2", "mp2"), ("aac", "aac"), ("mp3", "libmp3lame"))
    for ext, codec in names:
        yield AwkwardFile(
            name=f"{ext} under a WAV header.wav",
            make=lambda at, e=ext, c=codec: as_pcm(libav(at, "a", f"plain.{e}", c)),
            excerpts=(audio(),),
        )
    yield AwkwardFile(
        name="random bits.wav",
        make=lambda _: as_pcm(random.Random(0).randbytes(800_000)),  # noqa: S311 - reproducible
        reason="bad_input",
    )
    yield AwkwardFile(
        name="random bits.mka",
        make=lambda at: _noise(at / "noise.mka"),
        reason="bad_input",
    )
    for subtype in ("MS_ADPCM", "IMA_ADPCM"):
        yield AwkwardFile(
            name=f"{subtype}.wav", make=lambda _, s=subtype: sndfile("a", "WAV", s),
            excerpts=(audio(),),
        )  # fmt: skip
        yield AwkwardFile(
            name=f"{subtype} cut.wav", make=lambda _, s=subtype: _cut(sndfile("a", "WAV", s), 0.6),
            seconds=0.6 * SECONDS, excerpts=(audio(seconds=0.55 * SECONDS),), warned=DAMAGED,
            reason="damaged",
        )  # fmt: skip
    for scheme, entry_type in (("FairPlay", b"drms"), ("CENC", b"enca"), ("Audible", b"aavd")):
        yield AwkwardFile(
            name=f"{scheme}.m4a",
            make=lambda at, e=entry_type: _protected(at, e),
            reason="bad_input",
        )
    for ext, make in {
        "wav": _mp3, "flac": lambda: sndfile("a", "OGG", "VORBIS"), "ogg": _flac,
        "mp3": lambda: _encoded("wav"), "m4a": _mp3, "au": _flac, "wma": lambda: _encoded("aiff"),
    }.items():  # fmt: skip
        yield AwkwardFile(
            name=f"wrong extension.{ext}", make=lambda _, make=make: make(), excerpts=(audio(),)
        )
    yield AwkwardFile(name="text.au", make=lambda _: b"dear diary\n" * 9000, reason="bad_input")
    yield AwkwardFile(name="text.vox", make=lambda _: b"dear diary\n" * 9000, reason="bad_input")
    yield AwkwardFile(
        name="web page.flac", make=lambda _: b"<!DOCTYPE html><html>404</html>", reason="bad_input"
    )
    yield AwkwardFile(
        name="playlist.mp3", make=lambda _: b"#EXTM3U\n#EXTINF:1,a\na.wav\n", reason="bad_input"
    )


def awkward_files() -> list[AwkwardFile]:
    """Return all awkward files; their names are unique."""
    found = [file for variant in CHUNKED for file in _chunked(variant)]
    for files_of in (_mp3s, _streams, _flacs, _oggs, _films, _disguised):
        found += files_of()
    return found
