"""Runs in both. Which audio track of a file is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from av.stream import Disposition

from stemsplit.core.errors import BadInputError
from stemsplit.core.text import quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    import av
    from av.container import InputContainer

_FOR_FEW = Disposition.comment | Disposition.visual_impaired | Disposition.hearing_impaired
"""Tracks that are nobody's first choice: the director's comments, descriptions of the picture."""

_SHORT_LANGUAGES = {
    "cs": ("ces", "cze"), "da": ("dan",), "de": ("deu", "ger"), "el": ("ell", "gre"),
    "en": ("eng",), "es": ("spa",), "fi": ("fin",), "fr": ("fra", "fre"), "he": ("heb",),
    "hi": ("hin",), "hu": ("hun",), "it": ("ita",), "ja": ("jpn",), "ko": ("kor",),
    "nl": ("nld", "dut"), "no": ("nor",), "pl": ("pol",), "pt": ("por",), "ro": ("ron", "rum"),
    "ru": ("rus",), "sv": ("swe",), "tr": ("tur",), "uk": ("ukr",), "zh": ("zho", "chi"),
}  # fmt: skip
"""Of two letters (ISO 639-1), each with the codes of three that containers use (ISO 639-2)."""


def choose_track(
    container: InputContainer, name: str, wanted: str | None, notes: list[str]
) -> av.AudioStream:
    """Choose an audio track.

    Args:
        container: the open file.
        name: of the file, for sentences.
        wanted: the number of an audio track, from 1, or a language of two or three letters; None
            for the one that the file calls its default, or its first. Of a file with one track
            that one is taken, whatever is wanted.
        notes: gets a sentence where there are others.

    Raises:
        BadInputError: if there is no sound in it, or not that track.
    """
    tracks = list(container.streams.audio)
    if not tracks:
        raise BadInputError(f"{quoted(name)} has no audio track.", "Give another file.")
    if wanted is None:
        return _noted_default(tracks, name, notes)
    found = _wanted(tracks, wanted)
    if found is None:
        raise BadInputError(
            f"{quoted(name)} has no audio track {quoted(wanted)}. It has {_listed(tracks)}.",
            "Select one of these with --audio-track, by number or language.",
        )
    return found


def _noted_default(tracks: Sequence[av.AudioStream], name: str, notes: list[str]) -> av.AudioStream:
    found = _default(tracks)
    if len(tracks) > 1:
        notes.append(
            f"{quoted(name)} has {len(tracks)} audio tracks: {_listed(tracks)}. Using track "
            f"{tracks.index(found) + 1}; --audio-track selects another."
        )
    return found


def _default(tracks: Sequence[av.AudioStream]) -> av.AudioStream:
    """Return the default track: a decodable one that is for everybody, if there is such a one."""

    def rank(track: av.AudioStream) -> tuple[bool, bool, bool]:
        context: object = track.codec_context
        return (
            context is None,
            bool(track.disposition & _FOR_FEW),
            not track.disposition & Disposition.default,
        )

    return min(tracks, key=rank)


def _wanted(tracks: Sequence[av.AudioStream], wanted: str) -> av.AudioStream | None:
    if len(tracks) == 1:
        return tracks[0]
    if wanted.isdecimal():
        number = int(wanted)
        return tracks[number - 1] if 1 <= number <= len(tracks) else None
    codes = {wanted.lower(), *_SHORT_LANGUAGES.get(wanted.lower(), ())}
    codes |= {
        code for group in _SHORT_LANGUAGES.values() if wanted.lower() in group for code in group
    }
    return next((track for track in tracks if _language(track) in codes), None)


def _language(track: av.AudioStream) -> str:
    return track.metadata.get("language", "").lower()


def _listed(tracks: Sequence[av.AudioStream]) -> str:
    """List tracks, each with what a person may know it by."""
    texts = []
    for number, track in enumerate(tracks, 1):
        context: object = track.codec_context
        known = (
            _language(track),
            track.metadata.get("title", ""),
            "" if context is None else track.codec_context.layout.name,
        )
        details = ", ".join(word for word in known if word and word != "und")
        texts.append(f"{number} ({details})" if details else str(number))
    return ", ".join(texts)
