"""Runs in the supervisor. Classifies files by extension.

Based on the lists of FFmpeg's demuxers and libsndfile's formats. A test compares them, so that
every container of a newer version needs a decision.
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
_LOSSLESS_AND_OTHER = (
    ".16sv .8svx .afc .aif .aifc .aiff .aiffc .aifr .alac .ape .ast .au .avr .bcstm .bfstm "
    ".binka .bonk .brstm .bw64 .bwf .caf .daud .dff .dfpwm .dsf .dss .fap .flac .fsb .genh .htk "
    ".ircam .la .laf .mka .mlp .mmf .msf .mtaf .nist .ofr .ofs .osq .paf .pvf .qoa "
    ".rf64 .rka .rso .sd2 .sds .sdx .shn .sln .snd .sox .sph .svag .svx .tak .thd .truehd .tta "
    ".vag .voc .w64 .wav .wave .wv .wve .xmd .xvag"
)
_VIDEO = (
    ".3g2 .3gp .3gp2 .3gpp .amv .asf .avi .divx .dv .dvr-ms .evo .f4p .f4v .flv .gxf .ismv "
    ".ivr .kux .m2p .m2t .m2ts .m4v .mk3d .mkv .moflex .mov .mp4 .mpe .mpeg .mpg .mxf .nsv .nut "
    ".nuv .ogm .ogv .ogx .pva .qt .rm .rmvb .smk .tod .trp .usm .viv .vob .vro .webm .wmv "
    ".wtv .xmv"
)
AUDIO_EXTENSIONS = _set(f"{_LOSSY} {_LOSSLESS_AND_OTHER} {_VIDEO}")
"""Extensions that count as audio in a folder, video included. An input that is a file may have any
extension. Copy-protected formats and formats that no library reads (`.ofr`, `.la`) are included, so
that such files fail with a reason instead of being ignored."""

AMBIGUOUS_EXTENSIONS = _set(
    ".ads .adp .apl .aud .bit .dat .iff .ism .mac .mca .mod .mts .nsp .pcm .psp .raw .rsd .sf .son "
    ".str .thp .tp .ts .ty .vb .wa .way .wsd .xi"
)
"""Extensions of audio and of other formats; the first bytes decide. `.ts` is MPEG-TS, TypeScript or
a Qt translation, `.mod` a camcorder's video or a tracker module."""

VIDEO_EXTENSIONS = _set(f"{_VIDEO} .ism .mod .mts .psp .thp .tp .ts .ty")
"""Extensions of files whose size is mostly video."""

LOSSY_EXTENSIONS = _set(_LOSSY)
"""Extensions of lossy formats."""

STRIPPED_EXTENSIONS = AUDIO_EXTENSIONS | VIDEO_EXTENSIONS
"""Extensions that are removed from the name of a track."""

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
_MUSIC_RELATED = (
    ".accurip .als .asd .aup .aup3 .cda .cdg .db .ffp .flp .itc2 .itl .log .logicx .md5 .mid "
    ".midi .musx .ncw .nki .pek .pk .pkf .ptx .reapeaks .rpp .sf2 .sfk .sfv .sha1 .sha256 "
    ".sqlite3 .st5"
)
NON_AUDIO_EXTENSIONS = _set(f"{_PICTURES} {_TEXTS} {_PROGRAMS} {_MUSIC_RELATED}")
"""Extensions of files that are ignored without reading their first bytes."""

UNFINISHED_EXTENSIONS = _set(".!ut .aria2 .crdownload .download .opdownload .part .partial .tmp")
"""Extensions of files that another program is still writing or has abandoned; ignored."""
