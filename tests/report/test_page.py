"""The page of `stemsplit report` for real batches, in a real browser."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile
from mediafile import MediaFile
from report_page import make_journal

from stemsplit.core.settings import StemFormat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("real_models")]

COMMAND = Path(sys.executable).with_name("stemsplit")
HOSTILE = "<img src=x onerror=alert(1)> </script><script>alert(2)<!-- {{data}} \u2028 '\"&amp;"
SECONDS = 40

MEASURE_OFFSET = """async (milliseconds) => {
  const player = window.stemsplit.player;
  const audios = player.stems.map((stem) => stem.audio);
  while (player.settling) await new Promise((done) => setTimeout(done, 5));
  let largest = 0;
  const end = performance.now() + milliseconds;
  while (performance.now() < end) {
    await new Promise((done) => setTimeout(done, 20));
    const times = audios.map((audio) => audio.currentTime);
    largest = Math.max(largest, Math.max(...times) - Math.min(...times));
  }
  return { largest, time: audios[0].currentTime, paused: audios.map((audio) => audio.paused) };
}"""


def _separate(folder: Path, *arguments: str) -> int:
    return subprocess.run(
        [COMMAND, "separate", *arguments], cwd=folder, capture_output=True, check=False, timeout=300
    ).returncode


@pytest.fixture(scope="module")
def batch(song: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a real batch in `stems`: good songs, hostile names, failures, a log."""
    folder = tmp_path_factory.mktemp("batch")
    (folder / "songs").mkdir()
    (folder / "slow").mkdir()
    long = np.tile(song, (SECONDS // 4, 1))
    for name in ("first song.wav", f"{HOSTILE.replace('/', '')}.wav"):
        soundfile.write(folder / "songs" / name, long, 44_100)
    soundfile.write(folder / "songs" / "tagged.flac", song, 44_100)
    tags = MediaFile(folder / "songs" / "tagged.flac")
    tags.artist, tags.title = HOSTILE, HOSTILE
    tags.save()
    (folder / "songs" / "<b>broken.wav").write_bytes(b"no audio, although it is long enough")
    soundfile.write(folder / "slow" / "slow song.wav", long, 44_100)
    template = "{artist}/{track}/{title} {stem}.{ext}"
    common = ("-o", "stems", "--name", template, "--jobs", "2")
    assert _separate(folder, "slow", *common, "--timeout", "0.3s", "--retries", "0") == 3
    assert _separate(folder, "songs", "slow", "missing<i>.wav", *common) == 3
    return folder


def _write_page(folder: Path, page: str = "stems/report.html") -> Path:
    subprocess.run(
        [COMMAND, "report", "stems", "--html", page], cwd=folder, capture_output=True, check=True
    )
    return folder / page


@dataclass
class PageView:
    """An open page, with its errors and requests."""

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def listen(self, name: str) -> None:
        """Open the player of a track."""
        self.page.get_by_role("button", name=f"Listen to {name}", exact=True).click()

    def wait_until(self, condition: str, seconds: float = 20) -> None:
        """Wait for an expression to be true; the page's policy forbids Playwright's own method."""
        deadline = time.monotonic() + seconds
        while not self.page.evaluate(condition):
            assert time.monotonic() < deadline, condition
            self.page.wait_for_timeout(20)

    def measure_offset(self, milliseconds: int) -> dict[str, Any]:
        """Return the largest offset between stems in a period, and the state at its end."""
        measured: dict[str, Any] = self.page.evaluate(MEASURE_OFFSET, milliseconds)
        return measured


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., PageView]]:
    """Return a function that opens a page offline; errors on the page fail the test."""
    views: list[PageView] = []

    def open_path(path: Path, **options: Any) -> PageView:  # noqa: ANN401 - of Playwright
        context = browser.new_context(offline=True, **options)
        view = PageView(context.new_page())
        views.append(view)
        view.page.on("console", lambda message: view.errors.append(message.text))
        view.page.on("pageerror", lambda error: view.errors.append(str(error)))
        view.page.on("dialog", lambda dialog: view.errors.append(dialog.message))
        view.page.on("request", lambda request: view.requests.append(request.url))
        view.page.goto(path.as_uri())
        return view

    yield open_path
    for view in views:
        assert view.errors == []
        assert all(url.startswith(("file:", "data:")) for url in view.requests), view.requests
        view.page.context.close()


def test_the_page_shows_the_result_of_a_batch(
    batch: Path, open_page: Callable[..., PageView]
) -> None:
    """It shows counts, and failures with their reasons and logs."""
    page = open_page(_write_page(batch)).page
    assert page.title() == "Stems in stems"
    summary = page.locator("#summary").inner_text().split("\n")
    assert summary[summary.index("done") + 1] == "3"
    assert summary[summary.index("failed") + 1] == "3"
    assert "3 failures" in page.locator("#failures-title").inner_text()
    failures = page.locator("#failure-list").inner_text()
    for text in ("<b>broken.wav", "bad_input", "missing<i>.wav", "does not exist", "timed_out"):
        assert text in failures
    page.locator("#failure-list summary").click()
    assert "Supervisor log:" in page.locator("#failure-list pre").inner_text()
    log = page.get_by_role("link", name="Full log").get_attribute("href")
    assert log is not None
    assert (batch / "stems" / unquote(log)).read_text()
    assert "tagged.flac" in page.locator("#track-list").inner_text()


def test_hostile_names_and_tags_are_text(batch: Path, open_page: Callable[..., PageView]) -> None:
    """They are shown literally, create no elements, and run nothing."""
    view = open_page(_write_page(batch))
    page = view.page
    page.get_by_role("button", name="Listen to <img").click()
    view.wait_until("window.stemsplit.player.duration > 0")
    assert page.evaluate("document.querySelectorAll('img, b, i, iframe').length") == 0
    assert page.evaluate("document.scripts.length") == 2
    name = page.locator("#track-list h3", has_text="onerror").inner_text()
    assert name.startswith("<img src=x onerror=alert(1)> <script><script>alert(2)<!-- {{data}}")
    assert all(url.endswith(".wav") for url in view.requests[1:])
    page.fill("#search", "<img src=x")
    view.wait_until("document.querySelectorAll('#track-list > li').length === 1")


@pytest.mark.parametrize("stem_format", get_args(StemFormat))
def test_stems_stay_synchronised(
    stem_format: str, song: NDArray[np.float32], tmp_path: Path, open_page: Callable[..., PageView]
) -> None:
    """The offset is below 30 ms from the start, after a seek and after a pause, in every format."""
    soundfile.write(tmp_path / "song.wav", np.tile(song, (3, 1)), 44_100)
    assert _separate(tmp_path, "song.wav", "-o", "stems", "--format", stem_format) == 0
    view = open_page(_write_page(tmp_path))
    page = view.page
    view.listen("song.wav")
    play = page.get_by_role("button", name="Play", exact=True)
    play.click()
    view.wait_until("window.stemsplit.player.time > 0.2")
    started = view.measure_offset(800)
    assert started["largest"] < 0.030
    assert started["paused"] == [False, False]
    page.get_by_label("Position in song.wav").fill("500")
    view.wait_until("window.stemsplit.player.time > 6.2")
    sought = view.measure_offset(800)
    assert sought["largest"] < 0.030
    assert 6.5 < sought["time"] < 10
    page.get_by_role("button", name="Pause").click()
    paused = view.measure_offset(200)
    assert paused["paused"] == [True, True]
    play.click()
    view.wait_until(f"window.stemsplit.player.time > {paused['time'] + 0.1}")
    assert view.measure_offset(1000)["largest"] < 0.030


def test_stems_are_resynchronised(batch: Path, open_page: Callable[..., PageView]) -> None:
    """A stem is delayed, as by a busy disk or processor."""
    view = open_page(_write_page(batch))
    view.listen("first song.wav")
    view.page.get_by_role("button", name="Play").click()
    view.wait_until("window.stemsplit.player.time > 0.2")
    for delay in (0.08, 1.0):
        view.page.evaluate(f"window.stemsplit.player.stems[1].audio.currentTime -= {delay}")
        assert view.measure_offset(100)["largest"] > 0.030
        view.page.wait_for_timeout(3000)
        assert view.measure_offset(1000)["largest"] < 0.030


def test_solo_mute_and_volume(batch: Path, open_page: Callable[..., PageView]) -> None:
    """The mouse and the keyboard control them."""
    view = open_page(_write_page(batch))
    page = view.page
    view.listen("first song.wav")
    muted = "window.stemsplit.player.stems.map((stem) => stem.audio.muted)"
    solo = page.get_by_role("button", name="Solo vocals")
    solo.click()
    assert page.evaluate(muted) == [False, True]
    assert solo.get_attribute("aria-pressed") == "true"
    solo.press("Space")
    page.get_by_role("button", name="Mute vocals").press("Enter")
    assert page.evaluate(muted) == [True, False]
    page.get_by_label("Volume of accompaniment").press("Home")
    volumes = "window.stemsplit.player.stems.map((stem) => stem.audio.volume)"
    assert page.evaluate(volumes) == [1, 0]
    box = page.locator(".stem canvas").first.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 5)
    view.wait_until("Math.abs(window.stemsplit.player.time - 20) < 0.5")


def test_waveforms_and_timeline_are_drawn(batch: Path, open_page: Callable[..., PageView]) -> None:
    """They show levels and memory, and a table has the same data."""
    page = open_page(_write_page(batch)).page
    page.get_by_role("button", name="Listen to first song.wav").click()
    assert page.evaluate("window.stemsplit.player.stems.map((stem) => stem.levels.length > 200)")
    drawn_share = """(canvas) => {
      const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
      return data.filter((value, i) => i % 4 === 3 && value > 0).length / (data.length / 4);
    }"""
    for name in (".stem canvas", "#memory canvas", "#lanes canvas"):
        assert page.locator(name).first.evaluate(drawn_share) > 0.01, name
    page.locator("#attempts summary").click()
    rows = page.locator("#attempt-rows tr").all_inner_texts()
    assert len(rows) >= 4
    assert any("first song.wav" in row and "done" in row and "MiB" in row for row in rows)
    page.get_by_role("button", name="Zoom in").click()
    page.get_by_role("button", name="Whole run").click()
    page.select_option("#run", "0")
    assert "1 child" in page.locator("#run-text").inner_text()


def test_search_filter_and_sort(batch: Path, open_page: Callable[..., PageView]) -> None:
    """Each of them changes the list, and the count in the status line."""
    view = open_page(_write_page(batch))
    page = view.page
    names = page.locator("#track-list h3")
    page.fill("#search", "SONG first")
    view.wait_until("document.getElementById('count').textContent.startsWith('1 of ')")
    assert names.all_inner_texts() == ["first song.wav"]
    page.fill("#search", "")
    page.select_option("#state", "failed")
    view.wait_until("document.getElementById('count').textContent.startsWith('2 of ')")
    page.select_option("#state", "done")
    page.select_option("#order", "longest")
    view.wait_until("document.getElementById('count').textContent.startsWith('3 of ')")
    assert names.all_inner_texts()[-1] == "tagged.flac"


def test_each_kind_of_warning_is_counted_and_filtered(
    song: NDArray[np.float32], tmp_path: Path, open_page: Callable[..., PageView]
) -> None:
    """The kinds are damaged, clipped and note; failures are counted by reason."""
    soundfile.write(tmp_path / "whole.flac", np.tile(song, (5, 1)), 44_100)
    data = (tmp_path / "whole.flac").read_bytes()
    for name, percent in (("little", 98), ("much", 60), ("most", 10)):
        (tmp_path / f"{name}.flac").write_bytes(data[: len(data) * percent // 100])
    for number in range(2):
        soundfile.write(tmp_path / f"loud {number}.wav", 4 * song, 44_100, subtype="FLOAT")
    (tmp_path / "text.wav").write_text("no audio, although it is long enough")
    convert: list[str | Path] = [COMMAND, "convert", "-o", "stems", "--bit-depth", "16"]
    first = [*convert, "loud 1.wav", "--clip", "rescale"]
    subprocess.run(first, cwd=tmp_path, capture_output=True, check=True)
    sources = ["whole.flac", "little.flac", "much.flac", "most.flac", "loud 0.wav", "text.wav"]
    subprocess.run([*convert, *sources], cwd=tmp_path, capture_output=True, check=False)
    view = open_page(_write_page(tmp_path))
    page = view.page
    summary = page.locator("#summary").inner_text().split("\n")
    for card, count in (("done", 4), ("damaged", 1), ("clipped", 1), ("with notes", 1)):
        assert summary[summary.index(card) + 1] == str(count)
    title = page.locator("#failures-title").inner_text()
    assert title == "3 failures: 2 damaged, 1 bad_input"
    names = page.locator("#track-list h3")
    for state, found in {
        "damaged": ["little.flac", "most.flac", "much.flac"],
        "clipped": ["loud 0.wav"],
        "note": ["loud 1.wav"],
        "done": ["little.flac", "loud 0.wav", "loud 1.wav", "whole.flac"],
    }.items():
        page.select_option("#state", state)
        assert names.all_inner_texts() == found
    assert page.locator(".warning.damaged").inner_text().startswith("damaged: “little.flac”")
    assert page.locator(".warning.clipped").inner_text().startswith("clipped: “loud 0.wav”")
    page.fill("#search", "full scale")
    view.wait_until("document.getElementById('count').textContent.startsWith('1 of ')")


def test_the_folder_can_be_moved(
    batch: Path, tmp_path: Path, open_page: Callable[..., PageView]
) -> None:
    """The page moves with its stems; it may also be next to the output folder."""
    _write_page(batch)
    _write_page(batch, "outside.html")
    moved = tmp_path / "elsewhere, with ünusual #name%20"
    shutil.copytree(batch, moved)
    for page in ("stems/report.html", "outside.html"):
        view = open_page(moved / page)
        view.listen("first song.wav")
        view.wait_until("window.stemsplit.player.duration > 39")
        assert all("elsewhere" in url for url in view.requests)


def test_a_missing_stem_is_reported_and_the_others_play(
    batch: Path, tmp_path: Path, browser: Browser
) -> None:
    """The player shows a sentence; if all stems are missing, it is disabled."""
    _write_page(batch)
    moved = tmp_path / "moved"
    shutil.copytree(batch / "stems", moved)
    folder = moved / "Unknown artist" / "first song"
    (folder / "first song vocals.wav").unlink()
    view = PageView(browser.new_page())
    page = view.page
    page.goto((moved / "report.html").as_uri())
    view.listen("first song.wav")
    play = page.get_by_role("button", name="Play", exact=True)
    play.click()
    page.get_by_role("alert").wait_for()
    assert page.get_by_role("alert").inner_text().startswith("vocals cannot be played")
    view.wait_until("window.stemsplit.player.time > 0.3")
    assert page.get_by_role("button", name="Pause", exact=True).is_visible()
    assert page.get_by_role("button", name="Solo vocals").is_disabled()
    page.get_by_role("button", name="Listen to first song.wav").click()
    (folder / "first song accompaniment.wav").unlink()
    page.reload()
    view.listen("first song.wav")
    view.wait_until("document.querySelector('[role=alert]').textContent.startsWith('vocals, acc')")
    assert play.is_disabled()
    page.close()


def test_a_finished_track_plays_again_from_its_start(
    batch: Path, open_page: Callable[..., PageView]
) -> None:
    """The end of the slider is within the audio."""
    view = open_page(_write_page(batch))
    page = view.page
    view.listen("first song.wav")
    page.get_by_role("button", name="Play", exact=True).click()
    page.get_by_label("Position in first song.wav").press("End")
    view.wait_until("!window.stemsplit.player.playing")
    assert page.get_by_role("button", name="Play", exact=True).is_visible()
    page.get_by_role("button", name="Play", exact=True).click()
    view.wait_until("window.stemsplit.player.time > 0.1 && window.stemsplit.player.time < 5")
    page.get_by_label("Position in first song.wav").press("ArrowRight")
    view.wait_until("window.stemsplit.player.time > 5 && window.stemsplit.player.time < 10")


def test_stems_of_an_earlier_run_are_not_played(
    song: NDArray[np.float32], tmp_path: Path, open_page: Callable[..., PageView]
) -> None:
    """They stay on the disk, but their audio is also in the stems of the last run."""
    soundfile.write(tmp_path / "song.wav", song, 44_100)
    assert _separate(tmp_path, "song.wav", "-o", "stems") == 0
    assert _separate(tmp_path, "song.wav", "-o", "stems", "--stems", "vocals", "--residual") == 0
    assert (tmp_path / "stems/song/accompaniment.wav").exists()
    view = open_page(_write_page(tmp_path))
    view.listen("song.wav")
    names = "window.stemsplit.player.stems.map((stem) => stem.name)"
    assert view.page.evaluate(names) == ["vocals", "residual"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 360])
def test_the_page_has_no_serious_accessibility_problem(
    scheme: str, width: int, batch: Path, open_page: Callable[..., PageView]
) -> None:
    """axe-core finds none with everything open, and nothing is wider than the window."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    options = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}
    view = open_page(_write_page(batch), bypass_csp=True, **options)
    page = view.page
    view.listen("first song.wav")
    page.get_by_role("button", name="Solo vocals").click()
    page.locator("#attempts summary").click()
    page.locator("#failure-list summary").click()
    found = axe.run(page).response["violations"]
    assert [
        (violation["id"], violation["impact"], [node["html"] for node in violation["nodes"]])
        for violation in found
        if violation["impact"] in {"serious", "critical"}
    ] == []
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(overflow) <= 0


def test_the_selected_theme_is_kept(batch: Path, open_page: Callable[..., PageView]) -> None:
    """It overrides the theme of the system, also after a reload."""
    page = open_page(_write_page(batch), color_scheme="light").page
    background = "getComputedStyle(document.body).backgroundColor"
    light_background = page.evaluate(background)
    button = page.locator("#theme")
    button.click()
    button.click()
    assert button.inner_text() == "Theme: dark"
    assert page.evaluate(background) != light_background
    page.reload()
    assert button.inner_text() == "Theme: dark"
    assert page.evaluate(background) != light_background


def test_the_keyboard_reaches_the_player(batch: Path, open_page: Callable[..., PageView]) -> None:
    """The first element is the skip link, which leads to the tracks."""
    view = open_page(_write_page(batch))
    page = view.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the tracks"
    page.keyboard.press("Enter")
    for _ in range(12):
        page.keyboard.press("Tab")
        if (page.evaluate("document.activeElement.textContent") or "") == "Listen":
            break
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Play"
    page.keyboard.press("Space")
    view.wait_until("window.stemsplit.player.time > 0.1")


def test_five_thousand_tracks(tmp_path: Path, open_page: Callable[..., PageView]) -> None:
    """The page is small enough to send, draws only what is visible, and finds every track."""
    make_journal(tmp_path / "stems", 5000)
    path = _write_page(tmp_path)
    assert path.stat().st_size < 25e6
    view = open_page(path)
    page = view.page
    assert page.locator("#track-list > li").count() == 50
    assert page.locator("#failure-list > li").count() == 20
    assert "1 to 50 of 5,000" in page.locator("#track-pages").inner_text()
    page.locator("#track-pages").get_by_role("button", name="Next").click()
    assert "51 to 100" in page.locator("#track-pages").inner_text()
    assert page.evaluate("document.activeElement.id") == "track-list"
    page.locator("#track-pages").get_by_role("button", name="Last").click()
    assert "4,951 to 5,000" in page.locator("#track-pages").inner_text()
    page.fill("#search", "SONG 04999")
    view.wait_until("document.getElementById('count').textContent === '1 of 5,000 tracks'")
    assert page.locator("#track-pages").is_hidden()
