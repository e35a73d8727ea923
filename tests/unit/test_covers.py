"""Covers: as they are where a format holds them, converted or scaled down where it does not."""

from __future__ import annotations

import io
import subprocess
import sys

import mediafile
import numpy as np
import PIL.Image
import pytest
from tagged_files import picture, png_that_claims

from stemsplit.audio.cover_art import UnfitPictureError, fitted

FRONT = mediafile.ImageType.front
LARGE = (2600, 2400)
"""Pixels of noise, which as a PNG take more than 16 MiB."""


def _image(data: bytes) -> mediafile.Image:
    return mediafile.Image(data=data, desc="the front", type=FRONT)


@pytest.mark.parametrize("kind", ["flac", "ogg", "opus", "mp3", "wav"])
@pytest.mark.parametrize("encoding", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_what_a_format_holds_is_not_touched(kind: str, encoding: str) -> None:
    """Byte for byte."""
    image = _image(picture(encoding))
    assert fitted(image, kind) is image


@pytest.mark.parametrize("encoding", ["WEBP", "AVIF", "GIF", "BMP", "TIFF"])
def test_m4a_gets_what_it_holds(encoding: str) -> None:
    """Of the same size, description and type."""
    if encoding == "AVIF":
        pytest.importorskip("PIL._avif", reason="this Pillow has no AVIF")
    new = fitted(_image(picture(encoding, (80, 60))), "aac")
    assert (new.desc, new.type, new.mime_type) == ("the front", FRONT, "image/jpeg")
    with PIL.Image.open(io.BytesIO(new.data)) as image:
        assert image.size == (80, 60)


def test_a_transparent_cover_stays_transparent() -> None:
    """As a PNG."""
    new = fitted(_image(picture("WEBP", transparent=True)), "aac")
    assert new.mime_type == "image/png"
    with PIL.Image.open(io.BytesIO(new.data)) as image:
        assert image.mode == "RGBA"


@pytest.mark.parametrize("encoding", ["PNG", "BMP"])
def test_a_cover_of_18_mb_fits_into_a_flac_file(encoding: str) -> None:
    """Whose picture blocks hold 16 MiB."""
    data = picture(encoding, LARGE)
    assert len(data) > 2**24
    new = fitted(_image(data), "flac")
    assert (len(new.data) < 2**24 - 1000, new.mime_type) == (True, "image/jpeg")
    with PIL.Image.open(io.BytesIO(new.data)) as image:
        assert image.size == LARGE, "as JPEG it is small enough without fewer pixels"


def test_a_photograph_of_many_pixels_is_decoded_to_fewer() -> None:
    """Where as many would take more memory than a conversion may have."""
    noise = np.random.default_rng(0).integers(0, 256, (4200, 4200, 3), np.uint8)
    file = io.BytesIO()
    PIL.Image.fromarray(noise).save(file, "JPEG", quality=95)
    assert file.tell() > 2**24
    new = fitted(_image(file.getvalue()), "flac")
    with PIL.Image.open(io.BytesIO(new.data)) as image:
        assert image.size == (2100, 2100)


def test_a_transparent_cover_is_scaled_down() -> None:
    """Since a PNG of noise is not small enough otherwise."""
    new = fitted(_image(picture("PNG", LARGE, transparent=True)), "flac")
    assert (len(new.data) < 2**24, new.mime_type) == (True, "image/png")
    with PIL.Image.open(io.BytesIO(new.data)) as image:
        assert max(image.size) in {2000, 1400}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"RIFF\xd0\x07\0\0WEBPVP8 " + bytes(2000), "image/webp, which M4A does not hold"),
        (b"no picture", "no picture of a known type"),
        (b"", "no picture of a known type"),
        (picture("WEBP")[:300], "cannot be decoded"),
        (picture("TIFF")[:300], "cannot be decoded"),
        (picture("EPS"), "cannot be decoded"),
    ],
)
def test_a_broken_cover_is_refused(data: bytes, says: str) -> None:
    """With the reason."""
    with pytest.raises(UnfitPictureError, match=says):
        fitted(_image(data), "aac")


@pytest.mark.parametrize("side", [6_000, 12_000, 60_000])
def test_a_bomb_is_not_decoded(side: int) -> None:
    """A picture of a few bytes whose pixels would take gigabytes."""
    data = png_that_claims(side, side) + bytes(2**24)
    with pytest.raises(UnfitPictureError):
        fitted(_image(data), "flac")


def test_without_pillow_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what fits needs no Pillow."""
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UnfitPictureError, match=r"pip install 'stemsplit\[covers\]'"):
        fitted(_image(picture_made_before), "aac")
    image = _image(png_that_claims(1, 1))
    assert fitted(image, "aac") is image


picture_made_before = picture("WEBP")


def test_pillow_is_imported_only_where_a_cover_does_not_fit() -> None:
    """A child starts without it."""
    program = (
        "import sys, mediafile, stemsplit.child.job_runner, stemsplit.audio.cover_art as covers\n"
        f"covers.fitted(mediafile.Image(data={png_that_claims(1, 1)!r}), 'flac')\n"
        "print('PIL' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert done.stdout.strip() == b"False"
