"""Runs in the supervisor. What the ending of a file's name says of what is in it."""

from __future__ import annotations

_AUDIO = (
    ".aac .ac3 .aif .aifc .aiff .alac .ape .au .caf .dsf .dts .eac3 .flac .m4a .m4b .mka .mkv .mov "
    ".mp2 .mp3 .mp4 .mpc .oga .ogg .opus .rf64 .snd .tak .tta .w64 .wav .wave .webm .wma .wv"
)
AUDIO_SUFFIXES = frozenset(_AUDIO.split())
"""What counts as audio in a folder, films included that often hold nothing else. A file that is
named itself is taken whatever its name is."""

_OTHER = (
    ".accurip .asd .avi .bak .bmp .cue .db .doc .docx .exe .gif .gz .htm .html .ini .jpeg .jpg "
    ".json .lnk .log .lrc .m3u .m3u8 .md5 .mid .midi .nfo .opf .part .pdf .pls .png "
    ".py .rar .rtf .sfv .sh .sqlite3 .tif .tiff .tmp .toml .torrent .txt .url .webp .xml "
    ".xspf .yaml .yml .zip"
)
LOSSY_SUFFIXES = frozenset({".aac", ".m4a", ".mp3", ".oga", ".ogg", ".opus", ".wma"})
"""What is compressed with losses, as far as a name tells."""

FILM_SUFFIXES = frozenset({".mkv", ".mov", ".mp4", ".webm"})
"""What is more picture than sound, as far as its size tells."""

OTHER_SUFFIXES = frozenset(_OTHER.split())
"""Endings that are believed: what bears one is left out without a look into it."""
