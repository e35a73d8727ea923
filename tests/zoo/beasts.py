"""The awkward files: container by lie by codec, each with what must become of it.

What must come out is known by construction: which stretch of which tape belongs at which time.
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
from sounds import RATE, SECONDS, libav, sndfile, tape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    Make = Callable[..., bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A stretch of a tape that must be found in the output.

    Attributes:
        tape: its name.
        first: where it begins on the tape, in seconds.
        seconds: how long it is.
        at: where it must be in the output.
    """

    tape: str
    first: float
    seconds: float
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Beast:
    """One awkward file.

    Attributes:
        name: of the file.
        make: its bytes, given a folder for scratch.
        seconds: how long its output must be; 0 where no more is known than what it holds.
        holds: what must be found in it.
        reason: `done`, or why it must fail.
        warned: the kinds of its warnings.
        slack: how much later than it should its content may be, and how much longer it is, in
            seconds: what encoders add and do not declare.
    """

    name: str
    make: Make
    seconds: float = SECONDS
    holds: tuple[Stretch, ...] = ()
    reason: str = "done"
    warned: frozenset[str] = frozenset()
    slack: float = 0.05


def whole(
    tape: str = "a", at: float = 0.0, first: float = 0.0, seconds: float = SECONDS
) -> Stretch:
    """Return a stretch; all of a tape if no more is said."""
    return Stretch(tape=tape, first=first, seconds=seconds, at=at)


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


def _hole(data: bytes, at: float, count: int, fill: bytes = b"") -> bytes:
    """Overwrite `count` bytes with garbage, or with `fill` again and again."""
    first = round(len(data) * at)
    junk = (fill * count)[:count] or random.Random(0).randbytes(count)  # noqa: S311 - to be had again
    return data[:first] + junk + data[first + count :]


# -- files of chunks

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


def _encoded(kind: str, tape: str = "a") -> bytes:
    container, subtype, how = CHUNKED[kind]
    return sndfile(tape, container, subtype, **how)


def _size_field(kind: str, data: bytes) -> tuple[int, str, int]:
    """Return where the size of the samples stands, how, and what it counts beside them."""
    ext = kind.rpartition(".")[2]
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
    return data.index(b"data") + 4, ">I" if kind == "big.wav" else "<I", 0


def _with_size(kind: str, share: float | None) -> bytes:
    """Encode a file whose samples are declared larger or smaller; None for "unknown"."""
    data = bytearray(_encoded(kind))
    at, how, more = _size_field(kind, data)
    (size,) = struct.unpack_from(how, data, at)
    if share is None:
        data[at : at + struct.calcsize(how)] = b"\xff" * struct.calcsize(how)
    else:
        declared = int((size - more) * share)
        struct.pack_into(how, data, at, declared + more if declared else 0)
    return bytes(data)


def _with_chunk(kind: str, name: bytes, text: bytes, size: int) -> bytes:
    order = ">I" if kind == "big.wav" or kind.endswith("aiff") else "<I"
    data = _encoded(kind)
    return data + bytes(len(data) % 2) + name + struct.pack(order, size) + text


def _with_junk_in_front(kind: str) -> bytes:
    """Put chunks before the format: one of an odd size, and one that is empty."""
    order = ">I" if kind == "big.wav" else "<I"
    data = _encoded(kind)
    junk = b"JUNK" + struct.pack(order, 3) + b"abc\0" + b"PAD " + struct.pack(order, 0)
    return data[:12] + junk + data[12:]


def _chunked(kind: str) -> Iterator[Beast]:
    ext = kind.rpartition(".")[2]
    name = kind.removesuffix(f".{ext}") if "." in kind else ext

    def beast(lie: str, make: Callable[..., bytes], **expected: Any) -> Beast:  # noqa: ANN401 - of a beast
        expected.setdefault("holds", (whole(),))
        return Beast(name=f"{name} {lie}.{ext}", make=lambda _: make(), **expected)

    yield beast("size of 0", partial(_with_size, kind, 0))
    yield beast("quarter of the size", partial(_with_size, kind, 0.25))
    if ext != "rf64":  # where that means "see ds64"
        yield beast("unknown size", partial(_with_size, kind, None))
    yield beast("double size", partial(_with_size, kind, 2.0), reason="damaged", warned=DAMAGED)
    yield beast(
        "cut by 2 percent", lambda: _cut(_encoded(kind), 0.98), warned=DAMAGED,
        seconds=0.98 * SECONDS, holds=(whole(seconds=0.97 * SECONDS),),
    )  # fmt: skip
    yield beast(
        "cut by 40 percent", lambda: _cut(_encoded(kind), 0.6), warned=DAMAGED, reason="damaged",
        seconds=0.6 * SECONDS, holds=(whole(seconds=0.59 * SECONDS),),
    )  # fmt: skip
    if ext not in {"wav", "aiff"}:
        return
    yield beast("chunk behind", lambda: _with_chunk(kind, b"LIST", bytes(64), 64))
    yield beast("odd chunk behind", lambda: _with_chunk(kind, b"odd ", b"xyz", 3))
    yield beast("too long a chunk behind", lambda: _with_chunk(kind, b"LIST", bytes(64), 10**6))
    yield beast(
        "a picture behind",
        lambda: _encoded(kind) + random.Random(0).randbytes(100_000),  # noqa: S311 - to be had again
    )
    yield beast("ID3v1 behind", lambda: _encoded(kind) + ID3V1)
    yield beast("zeros behind", lambda: _encoded(kind) + bytes(100_000))
    yield beast(
        "joined", lambda: _encoded(kind) + _encoded(kind, "b"), seconds=2 * SECONDS,
        holds=(whole(), whole("b", SECONDS)),
    )  # fmt: skip
    if ext == "wav":
        yield beast("junk in front", partial(_with_junk_in_front, kind))


# -- streams of frames


def _mp3(tape: str = "a", mode: str = "CONSTANT", **how: Any) -> bytes:  # noqa: ANN401 - of libsndfile
    return sndfile(tape, "MP3", "MPEG_LAYER_III", bitrate_mode=mode, compression_level=0.2, **how)


def _xing_at(data: bytes) -> int:
    return max(data.find(b"Xing"), data.find(b"Info"))


def _without_header(data: bytes) -> bytes:
    """Leave out the first frame, which is no sound but a header."""
    return data[data.index(data[:2], _xing_at(data)) :]


def _with_count(data: bytes, share: float) -> bytes:
    """Declare another number of frames."""
    at = _xing_at(data) + 8
    count = int.from_bytes(data[at : at + 4], "big")
    return data[:at] + round(count * share).to_bytes(4, "big") + data[at + 4 :]


def _with_vbri(data: bytes) -> bytes:
    """Put Fraunhofer's header in the place of the other one."""
    at = _xing_at(data)
    count = int.from_bytes(data[at + 8 : at + 12], "big")
    rest = _without_header(data)
    frame = data[: len(data) - len(rest)]
    head = bytearray(len(frame))
    head[:4] = frame[:4]
    vbri = b"VBRI" + struct.pack(">HHHIIHHHH", 1, 1105, 75, len(data), count, 0, 1, 2, 1)
    head[36 : 36 + len(vbri)] = vbri
    return bytes(head) + rest


def _mp3s() -> Iterator[Beast]:
    def beast(name: str, make: Callable[..., bytes], **expected: Any) -> Beast:  # noqa: ANN401 - of a beast
        expected.setdefault("holds", (whole(),))
        return Beast(name=f"{name}.mp3", make=lambda _: make(), **expected)

    for mode in ("CONSTANT", "VARIABLE"):
        name = mode.lower()
        two = (whole(), whole("b", SECONDS))
        encode = partial(_mp3, mode=mode)
        yield beast(f"{name} as it should be", encode)
        yield beast(f"{name} without header", lambda e=encode: _without_header(e()))
        yield beast(f"{name} VBRI", lambda e=encode: _with_vbri(e()))
        yield beast(f"{name} count of 0", lambda e=encode: _with_count(e(), 0))
        yield beast(f"{name} half the count", lambda e=encode: _with_count(e(), 0.5))
        yield beast(
            f"{name} double count", lambda e=encode: _with_count(e(), 2.0), warned=DAMAGED,
            reason="damaged",
        )  # fmt: skip
        yield beast(f"{name} joined", lambda e=encode: e() + e("b"), seconds=2 * SECONDS, holds=two)
        yield beast(
            f"{name} joined without header", lambda e=encode: e() + _without_header(e("b")),
            seconds=2 * SECONDS, holds=two,
        )  # fmt: skip
        yield beast(
            f"{name} joined with tags between", lambda e=encode: e() + ID3V1 + ID3V2 + e("b"),
            seconds=2 * SECONDS, holds=two,
        )  # fmt: skip
        yield beast(f"{name} two tags in front", lambda e=encode: ID3V2 + ID3V2 + e())
        yield beast(f"{name} APE tag behind", lambda e=encode: e() + APE + ID3V1)
        yield beast(f"{name} lyrics behind", lambda e=encode: e() + LYRICS)
        yield beast(
            f"{name} cut by 2 percent", lambda e=encode: _cut(e(), 0.975), warned=DAMAGED,
            seconds=0.975 * SECONDS, holds=(whole(seconds=0.95 * SECONDS),),
        )  # fmt: skip
        yield beast(
            f"{name} cut by 40 percent", lambda e=encode: _cut(e(), 0.6), warned=DAMAGED,
            reason="damaged", seconds=0.6 * SECONDS, holds=(whole(seconds=0.55 * SECONDS),),
        )  # fmt: skip
        for what, fill in (("garbage", b""), ("zeros", b"\0")):
            yield beast(
                f"{name} {what} inside", lambda e=encode, f=fill: _hole(e(), 0.5, 2000, f),
                warned=DAMAGED,
                holds=(whole(seconds=0.45 * SECONDS), whole(at=0.6 * SECONDS, first=0.6 * SECONDS,
                                                            seconds=0.4 * SECONDS)),
            )  # fmt: skip
        yield beast(
            f"{name} garbage inside, no header",
            lambda e=encode: _hole(_without_header(e()), 0.5, 2000), warned=DAMAGED,
            holds=(whole(seconds=0.45 * SECONDS), whole(at=0.6 * SECONDS, first=0.6 * SECONDS,
                                                        seconds=0.4 * SECONDS)),
        )  # fmt: skip
    for number, change in enumerate(({"rate": 22_050}, {"rate": 48_000}, {"channels": 1})):
        yield beast(
            f"joined with another form {number}", lambda c=change: _mp3() + _mp3("b", **c),
            seconds=2 * SECONDS, holds=(whole(), whole("b", SECONDS)), warned=NOTED,
        )  # fmt: skip
        yield beast(f"another form {number}", lambda c=change: _mp3(**c))
        yield beast(
            f"another form {number} half the count", lambda c=change: _with_count(_mp3(**c), 0.5)
        )
    yield beast(
        "garbage put in between",
        lambda: _mp3()[:30_000] + random.Random(1).randbytes(3000) + _mp3()[30_000:],  # noqa: S311 - to be had again
    )


def _streams() -> Iterator[Beast]:
    """AAC, AC-3 and MP2, which have no header at all."""
    for ext, codec in (("aac", "aac"), ("ac3", "ac3"), ("mp2", "mp2")):

        def encode(
            folder: Path,
            tape: str = "a",
            ext: str = ext,
            codec: str = codec,
            **how: Any,  # noqa: ANN401 - of `libav`
        ) -> bytes:
            return libav(folder, tape, f"{tape}.{ext}", codec, **how)

        def beast(name: str, make: Make, ext: str = ext, **expected: Any) -> Beast:  # noqa: ANN401 - of a beast
            expected.setdefault("holds", (whole(),))
            return Beast(name=f"{ext} {name}.{ext}", make=make, **expected)

        yield beast("as it should be", encode)
        yield beast(
            "joined", lambda at, e=encode: e(at) + e(at, "b"), seconds=2 * SECONDS,
            holds=(whole(), whole("b", SECONDS)), slack=0.1,
        )  # fmt: skip
        yield beast(
            "joined with another rate", lambda at, e=encode: e(at) + e(at, "b", rate=48_000),
            seconds=2 * SECONDS, holds=(whole(), whole("b", SECONDS)), warned=NOTED, slack=0.1,
        )  # fmt: skip
        yield beast("tag in front", lambda at, e=encode: ID3V2 + e(at))
        yield beast(
            "garbage inside", lambda at, e=encode: _hole(e(at), 0.5, 3000),
            warned=DAMAGED, reason="damaged" if ext == "aac" else "done",
            holds=(whole(seconds=0.4 * SECONDS),
                   whole(at=0.65 * SECONDS, first=0.65 * SECONDS, seconds=0.35 * SECONDS)),
        )  # fmt: skip
        yield beast(
            "cut", lambda at, e=encode: _cut(e(at), 0.601), seconds=0.6 * SECONDS, warned=DAMAGED,
            holds=(whole(seconds=0.55 * SECONDS),),
        )  # fmt: skip


# -- FLAC


def _flac(tape: str = "a", rate: int = RATE) -> bytes:
    return sndfile(tape, "FLAC", "PCM_16", rate)


def _with_total(data: bytes, share: float) -> bytes:
    """Declare another number of samples, which STREAMINFO has in 36 bits."""
    total = int.from_bytes(data[21:26], "big")
    high, samples = total >> 36 << 36, total & (1 << 36) - 1
    return data[:21] + (high | int(samples * share)).to_bytes(5, "big") + data[26:]


def _flacs() -> Iterator[Beast]:
    def beast(name: str, make: Callable[..., bytes], **expected: Any) -> Beast:  # noqa: ANN401 - of a beast
        expected.setdefault("holds", (whole(),))
        return Beast(name=f"{name}.flac", make=lambda _: make(), **expected)

    two = (whole(), whole("b", SECONDS))
    around = (
        whole(seconds=0.4 * SECONDS),
        whole(at=0.65 * SECONDS, first=0.65 * SECONDS, seconds=0.35 * SECONDS),
    )
    yield beast("total of 0", lambda: _with_total(_flac(), 0))
    yield beast("half the total", lambda: _with_total(_flac(), 0.5))
    yield beast("double total", lambda: _with_total(_flac(), 2), warned=DAMAGED, reason="damaged")
    yield beast("joined", lambda: _flac() + _flac("b"), seconds=2 * SECONDS, holds=two)
    yield beast(
        "the same twice", lambda: _flac() + _flac(), seconds=2 * SECONDS,
        holds=(whole(), whole("a", SECONDS)),
    )  # fmt: skip
    yield beast(
        "joined with another rate", lambda: _flac() + _flac("b", 48_000), seconds=2 * SECONDS,
        holds=two, warned=NOTED,
    )  # fmt: skip
    yield beast("tag in front", lambda: ID3V2 + _flac())
    yield beast("tags behind", lambda: _flac() + APE + ID3V1)
    yield beast(
        "tag in front, half the total, tags behind",
        lambda: ID3V2 + _with_total(_flac(), 0.5) + ID3V1,
    )
    yield beast(
        "garbage inside", lambda: _hole(_flac(), 0.5, 40_000), warned=DAMAGED, holds=around,
        reason="damaged",
    )  # fmt: skip
    yield beast(
        "little garbage inside", lambda: _hole(_flac(), 0.5, 3), warned=DAMAGED, holds=around
    )
    yield beast("one bit", lambda: _hole(_flac(), 0.5, 1, b"\x55"), warned=DAMAGED, holds=around)
    yield beast(
        "garbage inside, total of 0", lambda: _hole(_with_total(_flac(), 0), 0.5, 30),
        warned=DAMAGED, holds=around,
    )  # fmt: skip
    yield beast(
        "cut by 40 percent", lambda: _cut(_flac(), 0.6), warned=DAMAGED, reason="damaged",
        seconds=0, holds=(whole(seconds=0.5 * SECONDS),),
    )  # fmt: skip


# -- Ogg


def _pages(data: bytes) -> list[bytes]:
    found = data.split(b"OggS")[1:]
    return [b"OggS" + page for page in found]


def _without_page(data: bytes, number: int) -> bytes:
    pages = _pages(data)
    return b"".join(pages[:number] + pages[number + 1 :])


def _oggs() -> Iterator[Beast]:
    kinds: dict[str, Callable[..., bytes]] = {
        "ogg": partial(sndfile, kind="OGG", subtype="VORBIS"),
        "opus": partial(sndfile, kind="OGG", subtype="OPUS", rate=48_000),
    }
    for ext, encode in kinds.items():

        def beast(name: str, make: Callable[..., bytes], ext: str = ext, **expected: Any) -> Beast:  # noqa: ANN401 - of a beast
            expected.setdefault("holds", (whole("a"),))
            return Beast(name=f"{ext} {name}.{ext}", make=lambda _: make(), **expected)

        two = (whole("a"), whole("b", SECONDS))
        yield beast("chain", lambda e=encode: e("a") + e("b"), seconds=2 * SECONDS, holds=two)
        yield beast(
            "chain of three", lambda e=encode: e("a") + e("b") + e("c"), seconds=3 * SECONDS,
            holds=(*two, whole("c", 2 * SECONDS)),
        )  # fmt: skip
        yield beast(
            "chain with junk between", lambda e=encode: e("a") + bytes(range(256)) * 9 + e("b"),
            seconds=2 * SECONDS, holds=two,
        )  # fmt: skip
        yield beast(
            "chain to mono", lambda e=encode: e("a") + e("b", channels=1), seconds=2 * SECONDS,
            holds=two, warned=NOTED,
        )  # fmt: skip
        if ext == "ogg":
            yield beast(
                "chain to another rate", lambda e=encode: e("a") + e("b", rate=48_000),
                seconds=2 * SECONDS, holds=two, warned=NOTED,
            )  # fmt: skip
        yield beast("junk in front", lambda e=encode: bytes(100) + e("a"))
        yield beast(
            "without its first sound", lambda e=encode: _without_page(e("a"), 2),
            warned=DAMAGED, reason="damaged", seconds=0, slack=0.1,
            holds=(whole(first=0.6 * SECONDS, at=0.6 * SECONDS, seconds=0.4 * SECONDS),),
        )  # fmt: skip
        yield beast(
            "without its end", lambda e=encode: b"".join(_pages(e("a"))[:-1]), warned=DAMAGED,
            seconds=0, holds=(whole(seconds=0.3 * SECONDS),),
        )  # fmt: skip
        yield beast(
            "cut, then chained", lambda e=encode: _cut(e("a"), 0.7) + e("b"), warned=DAMAGED,
            seconds=0, holds=(whole(seconds=0.3 * SECONDS),),
        )  # fmt: skip


# -- containers with a clock


def _late(folder: Path, ext: str, seconds: float) -> bytes:
    """Write a film whose second half has timestamps that are later by so much."""
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


def _remuxed(folder: Path, ext: str, codec: str, lost: tuple[float, float], **how: str) -> bytes:
    """Write a film whose packets between two times are left out."""
    source = folder / f"source of {ext}.mka"
    source.write_bytes(libav(folder, "a", "source.mka", codec))
    path = folder / f"remuxed.{ext}"
    with av.open(source) as film, av.open(path, "w", options=how) as output:
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
    """Write a film with two audio tracks, tape a and tape b, of which one is the default."""
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
        for stream, tape_name in zip(streams, ("a", "b"), strict=True):
            frame = av.AudioFrame.from_ndarray(
                tape(tape_name).reshape(1, -1), format="flt", layout="stereo"
            )
            frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
            output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    return path.read_bytes()


def _wma(folder: Path) -> bytes:
    return libav(folder, "a", "plain.wma", "wmav2", bit_rate=192_000)


def _films() -> Iterator[Beast]:
    gap = (1.5, 2.0)
    around = (
        whole(seconds=1.4),
        whole(at=2.1, first=2.1, seconds=1.8),
    )
    for ext, codec in (
        ("mka", "flac"), ("mka", "pcm_s16le"), ("mkv", "aac"), ("mkv", "ac3"), ("mkv", "mp2"),
        ("webm", "libopus"), ("m4a", "aac"), ("m4a", "alac"), ("mov", "pcm_s16le"),
        ("ts", "aac"), ("ts", "mp2"), ("flv", "aac"),
    ):  # fmt: skip
        rate = 48_000 if codec == "libopus" else RATE
        yield Beast(
            name=f"{codec} as it should be.{ext}",
            make=lambda at, e=ext, c=codec, r=rate: libav(at, "a", f"plain.{e}", c, r),
            holds=(whole(),),
        )
        if codec == "libopus" or ext == "mov":  # whose PCM has no timestamps of its own
            continue
        yield Beast(
            name=f"{codec} gap.{ext}",
            make=lambda at, e=ext, c=codec: _remuxed(at, e, c, gap),
            holds=around, warned=DAMAGED, reason="damaged",
        )  # fmt: skip
    for ext, pictures in (("mpg", 0), ("mpg", 100), ("vob", 100)):
        codec = "ac3" if ext == "vob" else "mp2"
        yield Beast(
            name=f"{codec} with {pictures} pictures.{ext}",
            make=lambda at, e=ext, c=codec, p=pictures: libav(at, "a", f"p.{e}", c, pictures=p),
            holds=(whole(),), slack=0.1,
        )  # fmt: skip
    yield Beast(
        name="pcm cut.avi",
        make=lambda at: _cut(libav(at, "a", "plain.avi", "pcm_s16le"), 0.6),
        seconds=0, holds=(whole(seconds=0.5 * SECONDS),), warned=DAMAGED, reason="damaged",
    )  # fmt: skip
    yield Beast(
        name="gap of 20 s.mkv",
        make=lambda at: _late(at, "mkv", 20.0), seconds=20.0 + SECONDS,
        holds=(whole(seconds=1.9), whole(first=2.1, at=22.1, seconds=1.8)),
        warned=DAMAGED, reason="damaged",
    )  # fmt: skip
    yield Beast(
        name="restarted after 20 s.ts",
        make=lambda at: _late(at, "ts", 20.0), warned=NOTED, slack=0.1,
        holds=(whole(seconds=1.9), whole(first=2.1, at=2.1, seconds=1.8)),
    )  # fmt: skip
    for share in (0.9, 0.6):
        yield Beast(
            name=f"cut to {share}.wma",
            make=lambda at, s=share: _cut(_wma(at), s),
            seconds=0, holds=(whole(seconds=(share - 0.15) * SECONDS),), warned=DAMAGED,
            reason="damaged",
        )  # fmt: skip
    yield Beast(
        name="as it should be.wma",
        make=_wma,
        holds=(whole(),), slack=0.1,
    )  # fmt: skip
    yield Beast(
        name="cut, with its index at the end.m4a",
        make=lambda at: _cut(libav(at, "a", "plain.m4a", "aac"), 0.9),
        reason="bad_input",
    )
    yield Beast(
        name="fragments.mp4",
        make=lambda at: libav(at, "a", "fragments.mp4", "aac",
                              movflags="frag_keyframe+empty_moov+default_base_moof"),
        holds=(whole(),),
    )  # fmt: skip
    for ext in ("mkv", "m4a"):
        for default in (0, 1):
            yield Beast(
                name=f"track {default + 1} of 2 is the default.{ext}",
                make=lambda at, e=ext, d=default: _tracks(at, e, d),
                holds=(whole("ab"[default]),), warned=NOTED,
            )  # fmt: skip


# -- what is not what it says


def as_pcm(data: bytes) -> bytes:
    """Put the header of a 16-bit WAV file before something else."""
    data += bytes(-len(data) % 4)
    form = struct.pack("<HHIIHH", 1, 2, RATE, RATE * 4, 4, 16)
    return (
        b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<I", 16) + form
        + b"data" + struct.pack("<I", len(data)) + data
    )  # fmt: skip


def _protected(folder: Path, entry: bytes) -> bytes:
    data = libav(folder, "a", "plain.m4a", "aac")
    return data.replace(b"mp4a", entry, 1)


def _noise(path: Path) -> bytes:
    """Write full-scale noise as PCM in a film."""
    bits = random.Random(0).randbytes(800_000)  # noqa: S311 - to be had again
    samples = np.frombuffer(bits, np.int16).reshape(-1, 2) / np.float32(2**15)
    write_libav(path, samples.astype(np.float32), "pcm_s16le")
    return path.read_bytes()


def _disguised() -> Iterator[Beast]:
    names = (("ac3", "ac3"), ("mp2", "mp2"), ("aac", "aac"), ("mp3", "libmp3lame"))
    for ext, codec in names:
        yield Beast(
            name=f"{ext} under a WAV header.wav",
            make=lambda at, e=ext, c=codec: as_pcm(libav(at, "a", f"plain.{e}", c)),
            holds=(whole(),),
        )
    yield Beast(
        name="random bits.wav",
        make=lambda _: as_pcm(random.Random(0).randbytes(800_000)),  # noqa: S311 - to be had again
        reason="bad_input",
    )
    yield Beast(
        name="random bits.mka",
        make=lambda at: _noise(at / "noise.mka"),
        reason="bad_input",
    )
    for subtype in ("MS_ADPCM", "IMA_ADPCM"):
        yield Beast(
            name=f"{subtype}.wav", make=lambda _, s=subtype: sndfile("a", "WAV", s),
            holds=(whole(),),
        )  # fmt: skip
        yield Beast(
            name=f"{subtype} cut.wav", make=lambda _, s=subtype: _cut(sndfile("a", "WAV", s), 0.6),
            seconds=0.6 * SECONDS, holds=(whole(seconds=0.55 * SECONDS),), warned=DAMAGED,
            reason="damaged",
        )  # fmt: skip
    for scheme, entry in (("FairPlay", b"drms"), ("CENC", b"enca"), ("Audible", b"aavd")):
        yield Beast(
            name=f"{scheme}.m4a", make=lambda at, e=entry: _protected(at, e), reason="bad_input"
        )
    for said, make in {
        "wav": _mp3, "flac": lambda: sndfile("a", "OGG", "VORBIS"), "ogg": _flac,
        "mp3": lambda: _encoded("wav"), "m4a": _mp3, "au": _flac, "wma": lambda: _encoded("aiff"),
    }.items():  # fmt: skip
        yield Beast(name=f"another name.{said}", make=lambda _, make=make: make(), holds=(whole(),))
    yield Beast(name="text.au", make=lambda _: b"dear diary\n" * 9000, reason="bad_input")
    yield Beast(name="text.vox", make=lambda _: b"dear diary\n" * 9000, reason="bad_input")
    yield Beast(
        name="not found.flac", make=lambda _: b"<!DOCTYPE html><html>404</html>", reason="bad_input"
    )
    yield Beast(
        name="playlist.mp3", make=lambda _: b"#EXTM3U\n#EXTINF:1,a\na.wav\n", reason="bad_input"
    )


def beasts() -> list[Beast]:
    """Return all of them, each with a name of its own."""
    found = [beast for kind in CHUNKED for beast in _chunked(kind)]
    for more in (_mp3s, _streams, _flacs, _oggs, _films, _disguised):
        found += more()
    return found
