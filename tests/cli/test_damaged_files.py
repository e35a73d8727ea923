"""Damaged files on the command line: which fail, which are converted, how they are counted."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

RATE = 44_100


@pytest.fixture
def long_song(song: NDArray[np.float32]) -> NDArray[np.float32]:
    """Twenty seconds, so that half a second is less than 5 %."""
    return np.tile(song, (5, 1))


@pytest.fixture(params=["wav", "flac"])
def cut(request: pytest.FixtureRequest, tmp_path: Path, long_song: NDArray[np.float32]) -> str:
    """Write `cut to 60.EXT` and `cut to 98.EXT`, and return the extension."""
    whole = tmp_path / f"whole.{request.param}"
    soundfile.write(whole, long_song, RATE, subtype="PCM_16")
    data = whole.read_bytes()
    for percent in (60, 98):
        path = tmp_path / f"cut to {percent}.{request.param}"
        path.write_bytes(data[: len(data) * percent // 100])
    return str(request.param)


def _events(result: Any, event_type: str) -> list[dict[str, Any]]:  # noqa: ANN401 - of a fixture
    events = map(json.loads, result.out.splitlines())
    return [event for event in events if event["type"] == event_type]


def _stems(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.wav"))


def test_a_badly_damaged_file_fails_unless_accepted(
    cut: str, tmp_path: Path, stemsplit: Callable[..., Any]
) -> None:
    """Nothing is written, and later runs skip the file without `--accept-damaged`."""
    source = f"cut to 60.{cut}"
    result = stemsplit("convert", source, "-o", "out", "--json")
    (failed,) = _events(result, "track_failed")
    assert (result.code, failed["reason"], failed["attempts"]) == (3, "damaged", 1)
    assert source in failed["message"]
    assert re.search(r"s of 20\.00 s \((39|40|41)%\) is missing at the end", failed["message"])
    assert "backup" in failed["remedy"]
    assert "--accept-damaged" in failed["remedy"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".stemsplit"]
    assert not list((tmp_path / "out/.stemsplit").rglob("*.log"))
    again = stemsplit("convert", source, "-o", "out")
    assert (again.code, "failed before" in again.err) == (3, True)
    assert "--retry-failed" not in again.err, "the retry would fail again"
    retried = stemsplit("convert", source, "-o", "out", "--retry-failed")
    assert (retried.code, "failed before" in retried.err) == (3, False)
    assert (
        "1 converted (1 damaged)"
        in stemsplit("convert", source, "-o", "out", "--retry-failed", "--accept-damaged").out
    )
    assert soundfile.info(tmp_path / "out/cut to 60.wav").duration == pytest.approx(12, abs=0.3)
    last = stemsplit("convert", source, "-o", "out")
    assert (last.code, last.out) == (0, "0 converted, 1 already done (1 damaged).\n")


def test_a_slightly_damaged_file_is_converted_with_a_warning(
    cut: str, tmp_path: Path, stemsplit: Callable[..., Any]
) -> None:
    """The events and the summary contain the kind of the warning."""
    result = stemsplit("convert", f"cut to 98.{cut}", "-o", "out", "--json")
    assert result.code == 0
    (done,) = _events(result, "track_done")
    assert done["warning_kinds"] == ["damaged"]
    assert len(done["warnings"]) == 1
    (last,) = _events(result, "batch_done")
    assert (last["damaged"], last["clipped"], last["notes"]) == (1, 0, 0)
    assert last["damages"] == [{"source": f"cut to 98.{cut}", "message": done["warnings"][0]}]
    summary = json.loads((tmp_path / "out/.stemsplit/summary.json").read_text())
    assert {key: summary[key] for key in ("damaged", "damages")} == {
        key: last[key] for key in ("damaged", "damages")
    }


@pytest.mark.parametrize("origin", ["option", "variable", "file"])
def test_accept_damaged_retries_failed_tracks(
    origin: str, tmp_path: Path, song: NDArray[np.float32], stemsplit: Callable[..., Any]
) -> None:
    """An option, a variable or a settings file may set it; finished tracks are skipped."""
    soundfile.write(tmp_path / "whole.flac", song, RATE)
    data = (tmp_path / "whole.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(data[: len(data) // 2])
    files = ("whole.flac", "cut.flac")
    assert stemsplit("convert", *files, "-o", "out").code == 3
    assert _stems(tmp_path / "out") == ["whole.wav"]
    environment = {"STEMSPLIT_ACCEPT_DAMAGED": "true"} if origin == "variable" else {}
    option = ("--accept-damaged",) if origin == "option" else ()
    if origin == "file":
        (tmp_path / "stemsplit.toml").write_text("[convert]\naccept-damaged = true\n")
    plan = stemsplit("convert", *files, "-o", "out", *option, "--dry-run", **environment)
    assert "1 to convert, 1 done" in plan.out
    result = stemsplit("convert", *files, "-o", "out", *option, **environment)
    assert result.code == 0
    assert "1 converted (1 damaged), 1 already done" in result.out
    assert _stems(tmp_path / "out") == ["cut.wav", "whole.wav"]


@pytest.fixture
def batch(
    tmp_path: Path, long_song: NDArray[np.float32], stemsplit: Callable[..., Any]
) -> Callable[..., Any]:
    """Return a function that converts intact, damaged, missing and clipped files."""
    soundfile.write(tmp_path / "whole.flac", long_song, RATE)
    data = (tmp_path / "whole.flac").read_bytes()
    (tmp_path / "little.flac").write_bytes(data[: len(data) * 98 // 100])
    (tmp_path / "much.flac").write_bytes(data[: len(data) * 60 // 100])
    loud = 4 * long_song[:RATE]
    names = [f"loud {number}.wav" for number in range(6)]
    for name in names:
        soundfile.write(tmp_path / name, loud, RATE, subtype="FLOAT")
    files = ("whole.flac", "little.flac", "much.flac", "nothing.wav", *names)

    def convert(*options: str) -> Any:  # noqa: ANN401 - of a fixture
        return stemsplit("convert", *files, "-o", "out", "--bit-depth", "16", *options)

    return convert


def test_clipping_does_not_hide_damage(batch: Callable[..., Any]) -> None:
    """Each damaged file has a line at once and at the end; all clipped tracks share one."""
    result = batch()
    assert result.code == 3
    lines = result.err.splitlines()
    assert [line for line in lines if "beyond full scale" in line] == []
    (immediate,) = [line for line in lines if line.startswith("damaged: “little.flac”")]
    summary = next(number for number, line in enumerate(lines) if line.startswith("8 converted"))
    assert lines[summary].startswith("8 converted (1 damaged, 6 clipped), 2 failed; ")
    final = lines[summary + 1 :]
    assert [line.split(":")[0] for line in final] == [
        "  6 tracks clipped",
        "  damaged",
        "  failed",
        "  failed",
    ]
    assert "--clip rescale" in final[0]
    assert final[1] == f"  damaged: little.flac: {immediate.removeprefix('damaged: ')}"
    assert final[2].endswith("(bad_input)")
    assert final[3].startswith("  failed: much.flac: ")
    assert final[3].endswith("(damaged)")


def test_verbose_shows_each_clipped_track(batch: Callable[..., Any]) -> None:
    """Each has a line of its own."""
    result = batch("--verbose")
    clipped = [line for line in result.err.splitlines() if line.startswith("clipped: ")]
    assert len(clipped) == 6
    assert all("samples beyond full scale were clamped" in line for line in clipped)


def test_similar_notes_are_counted(batch: Callable[..., Any]) -> None:
    """Five of them are shown; `--verbose` shows all."""
    result = batch("--clip", "rescale")
    notes = [line for line in result.err.splitlines() if line.startswith("note: ")]
    assert len(notes) == 5
    assert "8 converted (1 damaged, 6 with notes), 2 failed" in result.err
    assert "\n  1 similar note not shown" in result.err
    verbose = batch("--clip", "rescale", "--overwrite", "--verbose")
    assert sum(line.startswith("note: ") for line in verbose.err.splitlines()) == 6
    assert "similar note" not in verbose.err


def test_status_and_report_count_each_kind(
    batch: Callable[..., Any], stemsplit: Callable[..., Any]
) -> None:
    """They count the done tracks of this run and of earlier ones, but no failed tracks."""
    batch()
    for _ in range(2):
        report = json.loads(stemsplit("status", "out", "--json").out)
        assert (report["done"], report["failed"]) == (8, 2)
        assert (report["damaged"], report["clipped"], report["notes"]) == (1, 6, 0)
        assert "8 done (1 damaged, 6 clipped), 2 failed, 0 left" in stemsplit("status", "out").out
        text = stemsplit("report", "out").out
        assert "\n8 done (1 damaged, 6 clipped), 2 failed, 0 left\n" in text
        states = [line[:18].rstrip() for line in text.splitlines()]
        assert states.count("done, clipped") == 6
        assert states.count("done, damaged") == states.count("damaged") == 1
        (damaged,) = [line for line in text.splitlines() if line.startswith("damaged: ")]
        assert "little.flac: “little.flac”" in damaged
        batch()  # nothing is left to do


def test_inspect_reports_damage_and_succeeds(cut: str, stemsplit: Callable[..., Any]) -> None:
    """The JSON has a warning, and the exit code is 0."""
    result = stemsplit("inspect", f"cut to 60.{cut}", "--json")
    assert result.code == 0
    assert "missing" in json.loads(result.out)["warning"]
