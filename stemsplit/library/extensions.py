"""Runs in the supervisor. What the ending of a file's name says about its content.

Made from the lists of FFmpeg's demuxers and of libsndfile's formats; a test compares them, so that
a container of a newer version is not passed over without a decision.
"""

from __future__ import annotations


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_LOSSY = (
    ".aa .aa3 .aac .aax .aaxc .ac3 .ac4 .adts .adx .aea .aptx .aptxhd .amr .at3 .at9 .awb .dts "
    ".dtshd .dtsma .ec3 .eac3 .f4a .f4b .g722 .g723_1 .g729 .gsm .hca .iamf .isma .lbc .lc3 .m1a "
    " .m2a .m4a .m4b .m4p .m4r .mp1 .mp2 .mp3 .mpa .mpc .mpp .msbc .oga .ogg .oma .omg .opus "
    ".qcp .ra .sbc .spx .vqe .vqf .vql .weba .wma .xwma"
)
_LOSSLESS_AND_OTHER_SOUND = (
    ".16sv .8svx .afc .aif .aifc .aiff .aiffc .aifr .alac .ape .ast .au .avr .bcstm .bfstm "
    ".binka .bonk .brstm .bw64 .bwf .caf .daud .dff .dfpwm .dsf .dss .fap .flac .fsb .genh .htk "
    ".ircam .la .laf .mka .mlp .mmf .msf .mtaf .nist .ofr .ofs .osq .paf .pvf .qoa "
    ".rf64 .rka .rso .sd2 .sds .sdx .shn .sln .snd .sox .sph .svag .svx .tak .thd .truehd .tta "
    ".vag .voc .w64 .wav .wave .wv .wve .xmd .xvag"
)
_FILMS = (
    ".3g2 .3gp .3gp2 .3gpp .amv .asf .avi .divx .dv .dvr-ms .evo .f4p .f4v .flv .gxf .ismv "
    ".ivr .kux .m2p .m2t .m2ts .m4v .mk3d .mkv .moflex .mov .mp4 .mpe .mpeg .mpg .mxf .nsv .nut "
    ".nuv .ogm .ogv .ogx .pva .qt .rm .rmvb .smk .tod .trp .usm .viv .vob .vro .webm .wmv "
    ".wtv .xmv"
)
AUDIO_SUFFIXES = _set(f"{_LOSSY} {_LOSSLESS_AND_OTHER_SOUND} {_FILMS}")
"""What counts as audio in a folder, films included. A file that is named itself is taken whatever
its name is. Copy-protected files and some that no library reads (`.ofr`, `.la`) are among them, so
that they fail with a reason and are not passed over."""

SHARED_SUFFIXES = _set(
    ".ads .adp .apl .aud .bit .dat .iff .ism .mac .mca .mod .mts .nsp .pcm .psp .raw .rsd .sf .son "
    ".str .thp .tp .ts .ty .vb .wa .way .wsd .xi"
)
"""What is audio in some files and something else in others, where first bytes decide: `.ts` is
MPEG-TS, TypeScript or a translation of Qt's, `.mod` a camcorder's film or a tracker's module."""

FILM_SUFFIXES = _set(f"{_FILMS} .ism .mod .mts .psp .thp .tp .ts .ty")
"""What is more picture than sound, as far as its size tells."""

LOSSY_SUFFIXES = _set(_LOSSY)
"""What is compressed with losses, as far as a name tells."""

CUT_SUFFIXES = AUDIO_SUFFIXES | FILM_SUFFIXES
"""What is cut from a track's name."""

_PICTURES = (
    ".apng .avif .bmp .cr2 .cr3 .dng .eps .exr .gif .heic .heif .ico .j2c .j2k .jfif "
    ".jp2 .jpe .jpeg .jpg .jxl .nef .pam .pbm .pcx .pgm .png .ppm .psd .qoi .svg .tga .tif "
    ".tiff .webp .xcf"
)
_TEXTS = (
    ".ass .asx .cue .csv .doc .docx .epub .htm .html .idx .lrc .m3u .m3u8 .mks .nfo .odt "
    ".opf .pdf .pls .ppt .pptx .rtf .smi .srt .ssa .sub .sup .txt .vtt .wax .wpl .wvx .xls "
    ".xlsx .xml .xspf"
)
_PROGRAMS = (
    ".7z .apk .bat .bz2 .cpp .css .dll .dmg .dylib .exe .gz .ini .iso .jar .java .js "
    ".json .jsx .lnk .mjs .msi .py .rar .sh .so .tar .tbz .tgz .toml .torrent .tsx .url "
    ".vbs .wasm .xz .yaml .yml .zip .zst"
)
_BESIDE_MUSIC = (
    ".accurip .als .asd .aup .aup3 .cda .cdg .db .ffp .flp .itc2 .itl .log .logicx .md5 .mid "
    ".midi .musx .ncw .nki .pek .pk .pkf .ptx .reapeaks .rpp .sf2 .sfk .sfv .sha1 .sha256 "
    ".sqlite3 .st5"
)
OTHER_SUFFIXES = _set(f"{_PICTURES} {_TEXTS} {_PROGRAMS} {_BESIDE_MUSIC}")
"""Endings that are believed: what bears one is left out without a look into it."""

UNFINISHED_SUFFIXES = _set(".!ut .aria2 .crdownload .download .opdownload .part .partial .tmp")
"""What other programs are still writing, or have given up: left out, and counted."""
