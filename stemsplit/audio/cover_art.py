"""Runs in the child. Makes a picture fit a format: another type, or fewer pixels.

Pillow, an optional extra, does that. It is imported only where a picture does not fit as it is.
"""

from __future__ import annotations

import io
import logging
import warnings
from typing import TYPE_CHECKING, Any, Final

import mediafile

if TYPE_CHECKING:
    from PIL.Image import Image

_logger = logging.getLogger(__name__)

_MOST_BYTES: Final = {"flac": 2**24 - 1, "ogg": 2**24 - 1, "opus": 2**24 - 1}
"""Of a picture with what describes it, by mediafile's names of formats: a FLAC picture block has
a size of 24 bits (RFC 9639, section 8.1), and Vorbis comments hold such blocks."""

_MP4_TYPES: Final = frozenset({"image/jpeg", "image/png"})
_TYPES: Final = {"aac": _MP4_TYPES, "alac": _MP4_TYPES}
"""The types that a format takes, where it does not take all."""

FORMAT_NAMES: Final = {
    "flac": "FLAC",
    "ogg": "Ogg",
    "opus": "Opus",
    "mp3": "MP3",
    "aac": "M4A",
    "alac": "M4A",
    "wav": "WAV",
}
"""What a person calls mediafile's formats."""

_BLOCK_BYTES = 32
"""Of a FLAC picture block, its texts and its picture apart."""

_DECODED = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "MPO", "ICO")
"""Types of pictures that are converted: others, such as PostScript, would start programs."""

_MOST_PIXELS = 12_000_000
"""48 MB while it is decoded, within the cap of a conversion; JPEG is decoded to fewer where that is
enough."""

_MOST_CONVERTED_BYTES = 32 << 20

_SIDES = (3000, 2000, 1400, 1000, 600)
"""Of a picture that is scaled down, in pixels."""

_QUALITY = 90


class UnfitPictureError(ValueError):
    """A picture cannot go into a format; the text says why, as a part of a sentence."""


def fitted(picture: mediafile.Image, kind: str) -> mediafile.Image:
    """Return a picture as a format takes it: itself if it fits.

    Args:
        picture: as mediafile read it.
        kind: mediafile's name of the format: `flac`, `ogg`, `opus`, `mp3`, `aac`, `alac`, `wav`.

    Raises:
        UnfitPictureError: if it does not fit, and cannot be made to.
    """
    mime = picture.mime_type or ""
    types = _TYPES.get(kind)
    most = _MOST_BYTES.get(kind)
    if most is not None:
        most -= _BLOCK_BYTES + len("image/jpeg") + len((picture.desc or "").encode())
    is_type = mime.startswith("image/") if types is None else mime in types
    if is_type and (most is None or len(picture.data) <= most):
        return picture
    if is_type:
        problem = f"{len(picture.data) / 2**20:.0f} MiB, of which {FORMAT_NAMES[kind]} holds 16"
    elif mime.startswith("image/"):
        problem = f"{mime}, which M4A does not hold"
    else:
        problem = "it is no picture of a known type"
    if len(picture.data) > _MOST_CONVERTED_BYTES:
        raise UnfitPictureError(problem)
    data = _converted(picture.data, problem, most)
    return mediafile.Image(data=data, desc=picture.desc, type=picture.type)


def _converted(data: bytes, problem: str, most: int | None) -> bytes:
    try:
        import PIL.Image
    except ImportError as error:
        raise UnfitPictureError(
            f"{problem}; with `pip install 'stemsplit[covers]'` such covers are converted"
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            PIL.Image.init()
            known = [one for one in _DECODED if one in PIL.Image.OPEN]
            with PIL.Image.open(io.BytesIO(data), formats=known) as image:
                written = _written(image, most)
    except UnfitPictureError:
        raise
    except Exception as error:  # whatever a damaged picture makes a decoder raise
        _logger.debug("unreadable picture", exc_info=True)
        raise UnfitPictureError(f"{problem}, and it cannot be decoded") from error
    if written is None:
        raise UnfitPictureError(problem)
    return written


def _written(image: Image, most: int | None) -> bytes | None:
    """Return an image as JPEG, or as PNG if it is transparent; None if that is never small enough.

    Raises:
        UnfitPictureError: if it has too many pixels to be decoded.
    """
    from PIL import ImageOps

    if most is not None:
        # JPEG alone: decoded to no more pixels than needed, a half, a quarter or an eighth a side.
        least = _SIDES[0] if image.width * image.height <= _MOST_PIXELS else _SIDES[0] // 2
        image.draft("RGB", (least, least))
    if image.width * image.height > _MOST_PIXELS:
        raise UnfitPictureError(
            f"{image.width} x {image.height} pixels, which is too much to convert"
        )
    image.load()
    upright = ImageOps.exif_transpose(image)
    is_transparent = upright.has_transparency_data
    upright = upright.convert("RGBA" if is_transparent else "RGB")
    for side in (None, *_SIDES):
        if side is not None:
            if max(upright.size) <= side:
                continue
            upright.thumbnail((side, side))
        target = io.BytesIO()
        options: dict[str, Any] = {} if is_transparent else {"quality": _QUALITY}
        upright.save(target, "PNG" if is_transparent else "JPEG", **options)
        if most is None or target.tell() <= most:
            return target.getvalue()
    return None
