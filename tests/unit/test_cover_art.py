"""Cover art: unchanged if a file type can store it, else converted or scaled down."""

from __future__ import annotations

import io
import subprocess
import sys

import mediafile
import numpy as np
import PIL.Image
import pytest
from tagged_files import picture, png_with_declared_size

from stemsplit.audio.cover_art import UnfitPictureError, fit_cover

FRONT = mediafile.ImageType.front
LARGE = (2600, 2400)
"""Size in pixels at which noise takes more than 16 MiB as PNG."""


def _image(data: bytes) -> mediafile.Image:
    return mediafile.Image(data=data, desc="the front", type=FRONT)


@pytest.mark.parametrize("kind", ["flac", "ogg", "opus", "mp3", "wav"])
@pytest.mark.parametrize("encoding", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_storable_picture_is_unchanged(kind: str, encoding: str) -> None:
    """The same object is returned."""
    image = _image(picture(encoding))
    assert fit_cover(image, kind) is image


@pytest.mark.parametrize("encoding", ["WEBP", "AVIF", "GIF", "BMP", "TIFF"])
def test_m4a_gets_a_jpeg(encoding: str) -> None:
    """Size, description and type stay the same."""
    if encoding == "AVIF":
        pytest.importorskip("PIL._avif", reason="this Pillow has no AVIF")
    new = fit_cover(_image(picture(encoding, (80, 60))), "aac")
    assert (new.desc, new.type, new.mime_type) == ("the front", FRONT, "image/jpeg")
    with PIL.Image.open(io.BytesIO(new.data)) as image:
        assert image.size == (80, 60)


def test_a_transparent_cover_stays_transparent() -> None:
    """It becomes a PNG."""
    new = fit_cover(_image(picture("WEBP", transparent=True)), "aac")
    assert new.mime_type == "image/png"
    with PIL.Image.open(io.BytesIO(new.data)) as image:
        assert image.mode == "RGBA"


@pytest.mark.parametrize("encoding", ["PNG", "BMP"])
def test_a_cover_of_18_mb_is_converted_for_flac(encoding: str) -> None:
    """A FLAC picture block stores at most 16 MiB."""
    data = picture(encoding, LARGE)
    assert len(data) > 2**24
    new = fit_cover(_image(data), "flac")
    assert (len(new.data) < 2**24 - 1000, new.mime_type) == (True, "image/jpeg")
    with PIL.Image.open(io.BytesIO(new.data)) as image:
        assert image.size == LARGE, "the JPEG is small enough at full size"


def test_a_photograph_of_many_pixels_is_decoded_at_half_size() -> None:
    """At full size it would exceed the memory cap of a conversion."""
    noise = np.random.default_rng(0).integers(0, 256, (4200, 4200, 3), np.uint8)
    file = io.BytesIO()
    PIL.Image.fromarray(noise).save(file, "JPEG", quality=95)
    assert file.tell() > 2**24
    new = fit_cover(_image(file.getvalue()), "flac")
    with PIL.Image.open(io.BytesIO(new.data)) as image:
        assert image.size == (2100, 2100)


def test_a_transparent_cover_is_scaled_down() -> None:
    """A PNG of noise is too large at full size."""
    new = fit_cover(_image(picture("PNG", LARGE, transparent=True)), "flac")
    assert (len(new.data) < 2**24, new.mime_type) == (True, "image/png")
    with PIL.Image.open(io.BytesIO(new.data)) as image:
        assert max(image.size) in {2000, 1400}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"RIFF\xd0\x07\0\0WEBPVP8 " + bytes(2000), "image/webp, which M4A cannot store"),
        (b"no picture", "not a picture of a known type"),
        (b"", "not a picture of a known type"),
        (picture("WEBP")[:300], "cannot be decoded"),
        (picture("TIFF")[:300], "cannot be decoded"),
        (picture("EPS"), "cannot be decoded"),
    ],
)
def test_a_broken_cover_is_refused(data: bytes, reason: str) -> None:
    """The error contains the reason."""
    with pytest.raises(UnfitPictureError, match=reason):
        fit_cover(_image(data), "aac")


@pytest.mark.parametrize("side", [6_000, 12_000, 60_000])
def test_a_decompression_bomb_is_not_decoded(side: int) -> None:
    """A few bytes declare pixels that would take gigabytes."""
    data = png_with_declared_size(side, side) + bytes(2**24)
    with pytest.raises(UnfitPictureError):
        fit_cover(_image(data), "flac")


def test_without_pillow_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture that fits does not need Pillow."""
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UnfitPictureError, match=r"pip install '\.\[covers\]'"):
        fit_cover(_image(WEBP), "aac")
    image = _image(png_with_declared_size(1, 1))
    assert fit_cover(image, "aac") is image


WEBP = picture("WEBP")


def test_pillow_is_imported_only_if_a_cover_does_not_fit() -> None:
    """A child starts without Pillow."""
    program = (
        "import sys, mediafile, stemsplit.child.job_runner, stemsplit.audio.cover_art as covers\n"
        f"covers.fit_cover(mediafile.Image(data={png_with_declared_size(1, 1)!r}), 'flac')\n"
        "print('PIL' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert done.stdout.strip() == b"False"
