"""Runs in the supervisor. The options of `separate` that no other batch command has.

Annotations are evaluated here, not deferred, as in `stemsplit.cli.options`.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter

from stemsplit.cli.options import (
    AUDIO,
    CLUSTER,
    RESOURCES,
    TIME,
    DisplayOptions,
    EngineName,
    FileOptions,
    FormatOptions,
    Jobs,
    ModelName,
    Name,
    SampleRate,
    SelectionOptions,
    TrackOrder,
    engine_value,
    flag,
    model_value,
    value,
)
from stemsplit.core.limits import OnBattery
from stemsplit.core.settings import AUTOMATIC, HighBand
from stemsplit.library.naming import DEFAULT_NAME


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which stems are separated."""

    model: Annotated[
        ModelName,
        AUDIO,
        model_value(
            "Use the model 2stems, 4stems or 5stems. Append -16kHz for stems up to 16 kHz; see "
            "`stemsplit models list`."
        ),
    ] = "2stems"
    stems: Annotated[
        str | None, AUDIO, value("NAMES", "Write only these stems, such as vocals,drums.")
    ] = None
    residual: Annotated[
        bool, AUDIO, flag("Also write the mix minus the written stems. The stem is named residual.")
    ] = False


@dataclass(frozen=True, kw_only=True)
class SeparationOptions:
    """How the network's output becomes stems."""

    high_band: Annotated[
        HighBand,
        AUDIO,
        value(
            "MODE",
            "Fill the band above the model's 11 or 16 kHz. zeros leaves it empty; average fills it "
            "with the mix, scaled by the stem's average share of the band below.",
        ),
    ] = "zeros"
    mwf: Annotated[
        bool,
        AUDIO,
        flag(
            "Apply Spleeter's multichannel Wiener filter to the whole file. This takes longer and "
            "needs at least 20 MiB more memory per second of audio."
        ),
    ] = False


@dataclass(frozen=True, kw_only=True)
class ResourceOptions:
    """What children may use."""

    jobs: Jobs = "auto"
    threads: Annotated[
        int | Literal["auto"],
        RESOURCES,
        value(
            "N",
            "Use N threads for each track. auto divides the processors among the jobs.",
            show_choices=False,
        ),
    ] = "auto"
    engine: Annotated[
        EngineName,
        RESOURCES,
        engine_value(
            "Run the model with tensorflow or onnx. onnx needs less memory and supports more "
            "Python versions; auto picks the first one installed. The stems agree to within 1e-5."
        ),
    ] = AUTOMATIC
    max_ram: Annotated[
        str | None,
        RESOURCES,
        value(
            "SIZE",
            "Limit the total memory of all processes to SIZE, such as 4GiB. A percentage is a "
            "share of the free memory; the default is 60%.",
        ),
    ] = None
    max_ram_per_file: Annotated[
        str | None,
        RESOURCES,
        value(
            "SIZE",
            "Limit the memory of each track's process. The default is 1.5 times the predicted "
            "memory.",
        ),
    ] = None
    min_free: Annotated[
        str | None,
        RESOURCES,
        value(
            "SIZE",
            "Keep this much memory, such as 1GiB, free for other programs. Below it, no job "
            "starts; below half of it, the newest job is stopped and requeued. The default is 10%, "
            "but at least 512MiB.",
        ),
    ] = None
    nice: Annotated[
        int, RESOURCES, value("N", "Lower the priority of the jobs by N, from 0 to 19.")
    ] = 0


@dataclass(frozen=True, kw_only=True)
class TimeOptions:
    """How long a track and the batch may take."""

    timeout: Annotated[
        str | None,
        TIME,
        value(
            "TIME",
            "Stop a track that takes longer than this, such as 20m or 4x. 4x is four times the "
            "predicted time; there is no limit by default.",
        ),
    ] = None
    stall_timeout: Annotated[
        str, TIME, value("TIME", "Stop a track that makes no progress for this long.")
    ] = "120s"
    retries: Annotated[
        int, TIME, value("N", "Retry a track up to N times for each kind of failure.")
    ] = 2
    order: TrackOrder = "given"
    until: Annotated[
        str | None,
        TIME,
        value("HH:MM", "Don't start tracks that can't finish by HH:MM, such as 07:00."),
    ] = None
    on_battery: Annotated[
        OnBattery,
        TIME,
        value("MODE", "Run or pause while on battery power. pause starts no new track."),
    ] = "run"
    keep_awake: Annotated[
        bool, TIME, flag("Keep the machine awake during the batch.", negative="--no-keep-awake")
    ] = False


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """Which machines run the batch."""

    cluster: Annotated[
        str | None,
        CLUSTER,
        value(
            "ADDRESS",
            "Run on a Ray cluster. local starts one on this machine, auto uses the cluster that "
            "this machine belongs to, HOST:PORT connects to an address. --jobs, --threads and "
            "--max-ram then apply to each shard of the batch.",
        ),
    ] = None
    path_map: Annotated[
        list[str] | None,
        CLUSTER,
        value(
            "LOCAL=REMOTE",
            "Map a local folder to its path on the cluster's nodes. May be repeated.",
            negative=(),
            consume_multiple=False,
        ),
    ] = None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SeparateOptions(
    DisplayOptions,
    SelectionOptions,
    ClusterOptions,
    TimeOptions,
    ResourceOptions,
    SeparationOptions,
    FormatOptions,
    ModelOptions,
    FileOptions,
):
    """The options of `separate`; those of the last base come first."""

    name: Name = DEFAULT_NAME
    sample_rate: SampleRate = "44100"
