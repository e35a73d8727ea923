"""Runs in the child. Converts or scales down cover art that a file format cannot store.

Needs Pillow, an optional extra, which is imported only if a picture does not fit unchanged.
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

_MAX_BYTES: Final = {"flac": 2**24 - 1, "ogg": 2**24 - 1, "opus": 2**24 - 1}
"""Largest size of a picture with its description, by mediafile's name of the file type. The size of
a FLAC picture block has 24 bits (RFC 9639, section 8.1), and Vorbis comments store such blocks."""

_MP4_TYPES: Final = frozenset({"image/jpeg", "image/png"})
_TYPES: Final = {"aac": _MP4_TYPES, "alac": _MP4_TYPES}
"""Picture types that a file type accepts, unless it accepts all."""

FORMAT_NAMES: Final = {
    "flac": "FLAC",
    "ogg": "Ogg",
    "opus": "Opus",
    "mp3": "MP3",
    "aac": "M4A",
    "alac": "M4A",
    "wav": "WAV",
}
"""Name of each file type for users."""

_BLOCK_BYTES = 32
"""Size of a FLAC picture block without its texts and its picture."""

_DECODABLE = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "MPO", "ICO")
"""Picture formats that Pillow may decode. Others, such as PostScript, would start programs."""

_MAX_PIXELS = 12_000_000
"""48 MB while decoding, which is within the memory cap of a conversion. JPEG is decoded at a
reduced size if that suffices."""

_MAX_SOURCE_BYTES = 32 << 20

_SIDES = (3000, 2000, 1400, 1000, 600)
"""Sides of a picture to scale down to, in pixels, tried in order."""

_JPEG_QUALITY = 90


class UnfitPictureError(ValueError):
    """A file type cannot store a picture; the message, part of a sentence, is the reason."""


def fit_cover(picture: mediafile.Image, file_type: str) -> mediafile.Image:
    """Return a picture that a file type can store: the same object if it fits unchanged.

    Args:
        picture: picture as read by mediafile.
        file_type: mediafile's name: `flac`, `ogg`, `opus`, `mp3`, `aac`, `alac` or `wav`.

    Raises:
        UnfitPictureError: if the picture does not fit and cannot be converted.
    """
    mime = picture.mime_type or ""
    types = _TYPES.get(file_type)
    max_bytes = _MAX_BYTES.get(file_type)
    if max_bytes is not None:
        max_bytes -= _BLOCK_BYTES + len("image/jpeg") + len((picture.desc or "").encode())
    is_accepted = mime.startswith("image/") if types is None else mime in types
    if is_accepted and (max_bytes is None or len(picture.data) <= max_bytes):
        return picture
    if is_accepted:
        size = f"{len(picture.data) / 2**20:.0f} MiB"
        problem = f"{size}, but {FORMAT_NAMES[file_type]} stores at most 16 MiB"
    elif mime.startswith("image/"):
        problem = f"{mime}, which M4A cannot store"
    else:
        problem = "not a picture of a known type"
    if len(picture.data) > _MAX_SOURCE_BYTES:
        raise UnfitPictureError(problem)
    data = _converted(picture.data, problem, max_bytes)
    return mediafile.Image(data=data, desc=picture.desc, type=picture.type)


def _converted(data: bytes, problem: str, max_bytes: int | None) -> bytes:
    try:
        import PIL.Image
    except ImportError as error:
        raise UnfitPictureError(
            f"{problem}; to convert such covers, run `pip install '.[covers]'` in a clone of "
            "stemsplit"
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            PIL.Image.init()
            formats = [name for name in _DECODABLE if name in PIL.Image.OPEN]
            with PIL.Image.open(io.BytesIO(data), formats=formats) as image:
                encoded = _encoded(image, max_bytes)
    except UnfitPictureError:
        raise
    except Exception as error:  # decoders raise anything on a damaged picture
        _logger.debug("unreadable picture", exc_info=True)
        raise UnfitPictureError(f"{problem}, and it cannot be decoded") from error
    if encoded is None:
        raise UnfitPictureError(problem)
    return encoded


def _encoded(image: Image, max_bytes: int | None) -> bytes | None:
    """Return an image as JPEG, or as PNG if it is transparent; None if no size is small enough.

    Raises:
        UnfitPictureError: if it has too many pixels to decode.
    """
    from PIL import ImageOps

    if max_bytes is not None:
        # Only for JPEG: decode at 1/2, 1/4 or 1/8 of the side if that is large enough.
        min_side = _SIDES[0] if image.width * image.height <= _MAX_PIXELS else _SIDES[0] // 2
        image.draft("RGB", (min_side, min_side))
    if image.width * image.height > _MAX_PIXELS:
        raise UnfitPictureError(f"{image.width} x {image.height} pixels, too many to convert")
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
        options: dict[str, Any] = {} if is_transparent else {"quality": _JPEG_QUALITY}
        upright.save(target, "PNG" if is_transparent else "JPEG", **options)
        if max_bytes is None or target.tell() <= max_bytes:
            return target.getvalue()
    return None
