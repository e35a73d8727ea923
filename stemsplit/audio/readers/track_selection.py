"""Runs in the child. Selects one of the audio tracks of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from av.stream import Disposition

from stemsplit.core.errors import BadInputError
from stemsplit.core.text import quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    import av
    from av.container import InputContainer

_SPECIAL_PURPOSE = Disposition.comment | Disposition.visual_impaired | Disposition.hearing_impaired
"""Tracks used only on request or if there is no other: commentary, and tracks for people with
impaired sight or hearing."""

_LANGUAGE_CODES = {
    "cs": ("ces", "cze"), "da": ("dan",), "de": ("deu", "ger"), "el": ("ell", "gre"),
    "en": ("eng",), "es": ("spa",), "fi": ("fin",), "fr": ("fra", "fre"), "he": ("heb",),
    "hi": ("hin",), "hu": ("hun",), "it": ("ita",), "ja": ("jpn",), "ko": ("kor",),
    "nl": ("nld", "dut"), "no": ("nor",), "pl": ("pol",), "pt": ("por",), "ro": ("ron", "rum"),
    "ru": ("rus",), "sv": ("swe",), "tr": ("tur",), "uk": ("ukr",), "zh": ("zho", "chi"),
}  # fmt: skip
"""The three-letter codes that containers use (ISO 639-2), by two-letter code (ISO 639-1)."""


def select_track(
    container: InputContainer, name: str, requested: str | None, notes: list[str]
) -> av.AudioStream:
    """Select an audio track.

    Args:
        container: the open file.
        name: name of the file, for messages.
        requested: the number of an audio track, from 1, or a language of two or three letters; None
            for the file's default track, or else its first. A file's only track is used
            whatever is requested.
        notes: receives a note if no track is requested and there are several.

    Raises:
        BadInputError: if the file has no audio track, or not the requested one.
    """
    tracks = list(container.streams.audio)
    if not tracks:
        raise BadInputError(f"{quoted(name)} has no audio track.", "Choose another file.")
    if requested is None:
        default = min(tracks, key=_rank)
        if len(tracks) > 1:
            notes.append(
                f"{quoted(name)} has {len(tracks)} audio tracks: {_listed(tracks)}. Using track "
                f"{tracks.index(default) + 1}; --audio-track selects another."
            )
        return default
    found = _find(tracks, requested)
    if found is None:
        raise BadInputError(
            f"{quoted(name)} has no audio track {quoted(requested)}. It has {_listed(tracks)}.",
            "Select one of these with --audio-track, by number or language.",
        )
    return found


def _rank(track: av.AudioStream) -> tuple[bool, bool, bool]:
    """Rank the best track lowest: decodable, not special-purpose, flagged as default."""
    return (
        not _has_codec_context(track),
        bool(track.disposition & _SPECIAL_PURPOSE),
        not track.disposition & Disposition.default,
    )


def _has_codec_context(track: av.AudioStream) -> bool:
    context: object = track.codec_context  # None for an unknown encoding, whatever its type says
    return context is not None


def _find(tracks: Sequence[av.AudioStream], requested: str) -> av.AudioStream | None:
    if len(tracks) == 1:
        return tracks[0]
    if requested.isdecimal():
        number = int(requested)
        return tracks[number - 1] if 1 <= number <= len(tracks) else None
    language = requested.lower()
    codes = {language, *_LANGUAGE_CODES.get(language, ())}
    codes |= {code for group in _LANGUAGE_CODES.values() if language in group for code in group}
    return next((track for track in tracks if _language(track) in codes), None)


def _language(track: av.AudioStream) -> str:
    return track.metadata.get("language", "").lower()


def _listed(tracks: Sequence[av.AudioStream]) -> str:
    texts = []
    for number, track in enumerate(tracks, 1):
        known = (
            _language(track),
            track.metadata.get("title", ""),
            track.codec_context.layout.name if _has_codec_context(track) else "",
        )
        details = ", ".join(text for text in known if text and text != "und")
        texts.append(f"{number} ({details})" if details else str(number))
    return ", ".join(texts)
