"""Files that are not whole, by the installed command: what fails, what is done, what is counted."""

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
    """Twenty seconds, so that half a second of it is less than 5 %."""
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


def _events(ran: Any, kind: str) -> list[dict[str, Any]]:  # noqa: ANN401 - of a fixture
    told = map(json.loads, ran.out.splitlines())
    return [one for one in told if one["type"] == kind]


def _stems(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.wav"))


def test_a_file_that_lost_much_fails_until_that_is_accepted(
    cut: str, tmp_path: Path, stemsplit: Callable[..., Any]
) -> None:
    """Nothing of it is written; later runs leave it alone until the option is given."""
    source = f"cut to 60.{cut}"
    ran = stemsplit("convert", source, "-o", "out", "--json")
    (failed,) = _events(ran, "track_failed")
    assert (ran.code, failed["reason"], failed["attempts"]) == (3, "damaged", 1)
    assert source in failed["message"]
    assert re.search(r"s of 20\.00 s \((39|40|41)%\) is missing at the end", failed["message"])
    assert "backup" in failed["remedy"]
    assert "--accept-damaged" in failed["remedy"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".stemsplit"]
    assert not list((tmp_path / "out/.stemsplit").rglob("*.log"))
    again = stemsplit("convert", source, "-o", "out")
    assert (again.code, "failed before" in again.err) == (3, True)
    assert "--retry-failed" not in again.err, "it would fail again"
    retried = stemsplit("convert", source, "-o", "out", "--retry-failed")
    assert (retried.code, "failed before" in retried.err) == (3, False)
    assert (
        "1 converted (1 damaged)"
        in stemsplit("convert", source, "-o", "out", "--retry-failed", "--accept-damaged").out
    )
    assert soundfile.info(tmp_path / "out/cut to 60.wav").duration == pytest.approx(12, abs=0.3)
    last = stemsplit("convert", source, "-o", "out")
    assert (last.code, last.out) == (0, "0 converted, 1 done already (1 damaged).\n")


def test_a_file_that_lost_little_is_done_with_a_warning(
    cut: str, tmp_path: Path, stemsplit: Callable[..., Any]
) -> None:
    """With its kind, in the events and in the summary."""
    ran = stemsplit("convert", f"cut to 98.{cut}", "-o", "out", "--json")
    assert ran.code == 0
    (done,) = _events(ran, "track_done")
    assert done["warning_kinds"] == ["damaged"]
    assert len(done["warnings"]) == 1
    (last,) = _events(ran, "batch_done")
    assert (last["damaged"], last["clipped"], last["notes"]) == (1, 0, 0)
    assert last["damages"] == [{"source": f"cut to 98.{cut}", "message": done["warnings"][0]}]
    summary = json.loads((tmp_path / "out/.stemsplit/summary.json").read_text())
    assert {key: summary[key] for key in ("damaged", "damages")} == {
        key: last[key] for key in ("damaged", "damages")
    }


@pytest.mark.parametrize("way", ["option", "variable", "file"])
def test_the_option_alone_does_what_has_failed(
    way: str, tmp_path: Path, song: NDArray[np.float32], stemsplit: Callable[..., Any]
) -> None:
    """On the command line, as a variable, in a settings file. What was done is not done again."""
    soundfile.write(tmp_path / "whole.flac", song, RATE)
    data = (tmp_path / "whole.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(data[: len(data) // 2])
    files = ("whole.flac", "cut.flac")
    assert stemsplit("convert", *files, "-o", "out").code == 3
    assert _stems(tmp_path / "out") == ["whole.wav"]
    environment = {"STEMSPLIT_ACCEPT_DAMAGED": "true"} if way == "variable" else {}
    option = ("--accept-damaged",) if way == "option" else ()
    if way == "file":
        (tmp_path / "stemsplit.toml").write_text("[convert]\naccept-damaged = true\n")
    plan = stemsplit("convert", *files, "-o", "out", *option, "--dry-run", **environment)
    assert "1 to convert, 1 done" in plan.out
    ran = stemsplit("convert", *files, "-o", "out", *option, **environment)
    assert ran.code == 0
    assert "1 converted (1 damaged), 1 done already" in ran.out
    assert _stems(tmp_path / "out") == ["cut.wav", "whole.wav"]


@pytest.fixture
def batch(
    tmp_path: Path, long_song: NDArray[np.float32], stemsplit: Callable[..., Any]
) -> Callable[..., Any]:
    """Give what converts a healthy file, six clipped ones, and two with different losses."""
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


def test_clipping_hides_no_damage(batch: Callable[..., Any]) -> None:
    """A line for each damaged file, at once and at the end; one for all clipping together."""
    ran = batch()
    assert ran.code == 3
    lines = ran.err.splitlines()
    assert [line for line in lines if "beyond full scale" in line] == []
    (at_once,) = [line for line in lines if line.startswith("damaged: “little.flac”")]
    end = next(number for number, line in enumerate(lines) if line.startswith("8 converted"))
    assert lines[end].startswith("8 converted (1 damaged, 6 clipped), 2 failed; ")
    closing = lines[end + 1 :]
    assert [line.split(":")[0] for line in closing] == [
        "  6 tracks clipped",
        "  damaged",
        "  failed",
        "  failed",
    ]
    assert "--clip rescale" in closing[0]
    assert closing[1] == f"  damaged: little.flac: {at_once.removeprefix('damaged: ')}"
    assert closing[2].endswith("(bad_input)")
    assert closing[3].startswith("  failed: much.flac: ")
    assert closing[3].endswith("(damaged)")


def test_details_of_clipping_are_there_for_whoever_asks(batch: Callable[..., Any]) -> None:
    """A line for each clipped track."""
    ran = batch("--verbose")
    clipped = [line for line in ran.err.splitlines() if line.startswith("clipped: ")]
    assert len(clipped) == 6
    assert all("samples beyond full scale were clamped" in line for line in clipped)


def test_many_notes_of_one_sort_are_counted(batch: Callable[..., Any]) -> None:
    """Five are shown; --verbose shows all."""
    ran = batch("--clip", "rescale")
    notes = [line for line in ran.err.splitlines() if line.startswith("note: ")]
    assert len(notes) == 5
    assert "8 converted (1 damaged, 6 with notes), 2 failed" in ran.err
    assert "\n  1 more note like those above" in ran.err
    verbose = batch("--clip", "rescale", "--overwrite", "--verbose")
    assert sum(line.startswith("note: ") for line in verbose.err.splitlines()) == 6
    assert "more note" not in verbose.err


def test_status_and_report_count_each_kind(
    batch: Callable[..., Any], stemsplit: Callable[..., Any]
) -> None:
    """Tracks that are done, in this run and in earlier ones; none that failed."""
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
        batch()  # does nothing any more


def test_inspect_says_what_is_lost_and_does_not_fail(
    cut: str, stemsplit: Callable[..., Any]
) -> None:
    """Whatever it is."""
    ran = stemsplit("inspect", f"cut to 60.{cut}", "--json")
    assert ran.code == 0
    assert "missing" in json.loads(ran.out)["warning"]
