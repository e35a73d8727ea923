"""Runs in the supervisor. The options that commands share, each with its help.

cyclopts flattens the fields of the dataclasses into options (`Parameter(name="*")`). `--help` shows
the first sentence of the options in `EVERYDAY`; `--help-all` shows every option with its full
text. `stemsplit.cli.separate_options` has the options of `separate` alone.

Annotations are evaluated here, not deferred: cyclopts 4 would resolve inherited ones in the module
of the subclass.
"""

from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from cyclopts import Group, Parameter

from stemsplit.core.limits import Order
from stemsplit.core.settings import AUTOMATIC, LOADERS, BitDepth, Clip, StemFormat
from stemsplit.library.naming import DEFAULT_NAME_CONVERTED
from stemsplit.models.catalogue import MODELS

GROUPS = (
    "Files",
    "Model and audio",
    "Memory and speed",
    "Time",
    "Cluster",
    "What to process",
    "Display",
)

FILES, AUDIO, RESOURCES, TIME, CLUSTER, SELECTION, DISPLAY = (
    Parameter(group=Group.create_ordered(name)) for name in GROUPS
)

EVERYDAY = frozenset((
    "--output", "--from-file", "--exclude", "--name", "--model", "--stems", "--residual",
    "--format", "--bit-depth", "--sample-rate", "--jobs", "--max-ram", "--timeout", "--until",
    "--overwrite", "--retry-failed", "--accept-damaged", "--dry-run", "--json", "--quiet",
    "--verbose",
))  # fmt: skip


def flag(text: str, *names: str, **keywords: Any) -> Parameter:  # noqa: ANN401 - cyclopts' own
    """Create the `Parameter` of an option.

    Args:
        text: help of the option.
        names: the long and the short name; empty for the name of the field.
        keywords: of `Parameter`. Those that cyclopts 4 (Python 3.10) lacks are dropped.
    """
    missing = {"metavar"} - set(signature(Parameter).parameters)
    known = {keyword: given for keyword, given in keywords.items() if keyword not in missing}
    return Parameter(help=text, name=names or None, **known)


def value(metavar: str, text: str, *names: str, **keywords: Any) -> Parameter:  # noqa: ANN401 - likewise
    """Create the `Parameter` of an option whose value the help calls `metavar`."""
    return flag(text, *names, metavar=metavar, **keywords)


if TYPE_CHECKING:
    ModelName: TypeAlias = str
    EngineName: TypeAlias = str
else:
    # Any text is accepted here, and checked later; shells complete the known names.
    ModelName = Literal[tuple(MODELS)] | str
    EngineName = Literal[(AUTOMATIC, *LOADERS)] | str

Inputs = Annotated[
    list[str] | None,
    Parameter(
        negative=(),
        help="Audio files, folders to search, patterns such as 'live/**/*.flac', and URLs "
        "(s3://, sftp://).",
    ),
]
Name = Annotated[
    str,
    FILES,
    value(
        "TEMPLATE",
        "Set the path of each output file within the folder. Placeholders: relpath, track, stem, "
        "ext, model, artist, albumartist, album, title, tracknumber, discnumber, year, genre, "
        "foldername, source_ext, id, and Spleeter's filename, instrument, codec. Conversions have "
        "no stem.",
    ),
]
SampleRate = Annotated[
    str,
    AUDIO,
    value(
        "HZ",
        "Write at this sample rate, such as 44.1k, or source. The models always work at 44100 Hz.",
    ),
]
Jobs = Annotated[
    int | Literal["auto"],
    RESOURCES,
    value(
        "N",
        "Process N tracks at once. auto balances processors against memory.",
        "--jobs",
        "-j",
        show_choices=False,
    ),
]
TrackOrder = Annotated[
    Order, TIME, value("ORDER", "Process tracks in this order. given is the order of the inputs.")
]


def model_value(text: str) -> Parameter:
    """Create the `Parameter` of `--model`, which a shell completes."""
    return value("MODEL", text, "--model", "-m", show_choices=False)


def engine_value(text: str) -> Parameter:
    """Create the `Parameter` of `--engine`, which a shell completes."""
    return value("ENGINE", text, show_choices=False)


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """Which files are read and where the output goes; `name` has a default in each command."""

    output: Annotated[
        str,
        FILES,
        value("FOLDER", "Write to this folder or URL. It is created if missing.", "--output", "-o"),
    ]
    from_file: Annotated[
        str | None,
        FILES,
        value(
            "FILE",
            "Read more inputs from a file or playlist. One per line, or NUL-separated as from "
            "`find -print0`; - is standard input.",
            allow_leading_hyphen=True,
        ),
    ] = None
    exclude: Annotated[
        list[str] | None,
        FILES,
        value(
            "PATTERN",
            "Skip files and folders that match. A name, such as Podcasts or '*.m4b', matches at "
            "any depth; a path, such as 'live/**/demo*', matches relative to the input. May be "
            "repeated.",
            negative=(),
            consume_multiple=False,
        ),
    ] = None
    limit: Annotated[
        int | None,
        FILES,
        value("N", "Process at most N tracks in this run. Run the same command again to continue."),
    ] = None
    name: Name


@dataclass(frozen=True, kw_only=True)
class FormatOptions:
    """What is read of a track and how files are written."""

    format: Annotated[
        StemFormat,
        AUDIO,
        value("FORMAT", "Write wav, flac, mp3, ogg, opus or m4a files.", "--format", "-f"),
    ] = "wav"
    bit_depth: Annotated[
        BitDepth | None,
        AUDIO,
        value(
            "BITS",
            "Write 16-bit, 24-bit or 32-bit float samples. 32f is for wav only; source keeps the "
            "bit depth of the source. The default for wav and flac is 24 for stems and source for "
            "conversions. Reduction to 16 bits is dithered, unless the audio already fits.",
        ),
    ] = None
    sample_rate: SampleRate
    bitrate: Annotated[
        str | None,
        AUDIO,
        value(
            "RATE",
            "Encode a lossy format at this bit rate. The default is 320k for mp3, 256k for ogg and "
            "m4a, 192k for opus.",
            "--bitrate",
            "-b",
        ),
    ] = None
    clip: Annotated[
        Clip | None,
        AUDIO,
        value(
            "MODE",
            "How to handle clipping: clamp, attenuate the track (rescale), or keep (none). The "
            "default is clamp, or none with 32f.",
        ),
    ] = None
    tags: Annotated[
        bool,
        AUDIO,
        flag(
            "Copy tags and cover art from the source. The stem's name is added to its title.",
            negative="--no-tags",
            show_default=lambda is_on: "--tags" if is_on else "--no-tags",
        ),
    ] = True
    start: Annotated[
        str | None,
        AUDIO,
        value("TIME", "Start each track at this time, such as 90s or 1:30.", "--start", "-s"),
    ] = None
    duration: Annotated[
        str | None,
        AUDIO,
        value("TIME", "Process only this much of each track, such as 30s.", "--duration", "-d"),
    ] = None
    audio_track: Annotated[
        str | None,
        AUDIO,
        value(
            "N|LANGUAGE",
            "Read this audio track of a video. Give its number, starting at 1, or a language such "
            "as en or deu; without the option, the default track is read.",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """How many tracks are processed at once, and in which order."""

    jobs: Jobs = "auto"
    order: TrackOrder = "given"


@dataclass(frozen=True, kw_only=True)
class SelectionOptions:
    """Which tracks are processed."""

    overwrite: Annotated[
        bool, SELECTION, flag("Process finished tracks again and replace their files.")
    ] = False
    retry_failed: Annotated[
        bool, SELECTION, flag("Retry tracks that failed in an earlier run.")
    ] = False
    accept_damaged: Annotated[
        bool,
        SELECTION,
        flag(
            "Write what can be read of a damaged file, with a warning. Without this option, a file "
            "fails if more than 5% of it is missing. Also retries tracks that failed as damaged in "
            "an earlier run."
        ),
    ] = False
    dry_run: Annotated[
        bool,
        SELECTION,
        flag(
            "Show what would be done, without doing it. Also shows the expected time, memory and "
            "disk space.",
            "--dry-run",
            "-n",
        ),
    ] = False


@dataclass(frozen=True, kw_only=True)
class DisplayOptions:
    """What is printed."""

    json: Annotated[bool, DISPLAY, flag("Print each event as one line of JSON.")] = False
    quiet: Annotated[bool, DISPLAY, flag("Print only failures.", "--quiet", "-q")] = False
    verbose: Annotated[
        bool, DISPLAY, flag("Also print details and tracebacks.", "--verbose", "-v")
    ] = False


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ConvertOptions(DisplayOptions, SelectionOptions, JobOptions, FormatOptions, FileOptions):
    """The options of `convert`; those of the last base come first."""

    name: Name = DEFAULT_NAME_CONVERTED
    sample_rate: SampleRate = "source"
