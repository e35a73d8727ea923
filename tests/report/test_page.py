"""The page of `stemsplit report` in a real browser, made of real batches."""

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

DIFFERENCE = """async (milliseconds) => {
  const player = window.stemsplit.player;
  const audios = player.stems.map((stem) => stem.audio);
  while (player.settling) await new Promise((done) => setTimeout(done, 5));
  let most = 0;
  const end = performance.now() + milliseconds;
  while (performance.now() < end) {
    await new Promise((done) => setTimeout(done, 20));
    const times = audios.map((audio) => audio.currentTime);
    most = Math.max(most, Math.max(...times) - Math.min(...times));
  }
  return { most, time: audios[0].currentTime, paused: audios.map((audio) => audio.paused) };
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


def _report(folder: Path, page: str = "stems/report.html") -> Path:
    subprocess.run(
        [COMMAND, "report", "stems", "--html", page], cwd=folder, capture_output=True, check=True
    )
    return folder / page


@dataclass
class Visit:
    """A page that is open, and what went wrong on it."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def listen(self, name: str) -> None:
        """Open the player of a track."""
        self.page.get_by_role("button", name=f"Listen to {name}", exact=True).click()

    def until(self, condition: str, seconds: float = 20) -> None:
        """Wait for an expression to be true; the page's policy forbids Playwright's own way."""
        deadline = time.monotonic() + seconds
        while not self.page.evaluate(condition):
            assert time.monotonic() < deadline, condition
            self.page.wait_for_timeout(20)

    def difference(self, milliseconds: int) -> dict[str, Any]:
        """Give how far apart the stems were at most for so long."""
        found: dict[str, Any] = self.page.evaluate(DIFFERENCE, milliseconds)
        return found


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Open a page from the disk, with no network there; nothing may go wrong on it."""
    visits: list[Visit] = []

    def open_(path: Path, **options: Any) -> Visit:  # noqa: ANN401 - Playwright's own
        context = browser.new_context(offline=True, **options)
        visit = Visit(context.new_page())
        visits.append(visit)
        visit.page.on("console", lambda message: visit.complaints.append(message.text))
        visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
        visit.page.on("dialog", lambda dialog: visit.complaints.append(dialog.message))
        visit.page.on("request", lambda request: visit.requests.append(request.url))
        visit.page.goto(path.as_uri())
        return visit

    yield open_
    for one in visits:
        assert one.complaints == []
        assert all(url.startswith(("file:", "data:")) for url in one.requests), one.requests
        one.page.context.close()


def test_a_page_of_a_batch_says_what_was_done(batch: Path, visit: Callable[..., Visit]) -> None:
    """Counts, failures with reason and log, warnings, one request and no more."""
    page = visit(_report(batch)).page
    assert page.title() == "Stems in stems"
    summary = page.locator("#summary").inner_text().split("\n")
    assert summary[summary.index("done") + 1] == "3"
    assert summary[summary.index("failed") + 1] == "3"
    assert "3 failures" in page.locator("#failures-title").inner_text()
    failures = page.locator("#failure-list").inner_text()
    for text in ("<b>broken.wav", "bad_input", "missing<i>.wav", "does not exist", "timed_out"):
        assert text in failures
    page.locator("#failure-list summary").click()
    assert "The supervisor's account:" in page.locator("#failure-list pre").inner_text()
    log = page.get_by_role("link", name="the whole log").get_attribute("href")
    assert log is not None
    assert (batch / "stems" / unquote(log)).read_text()
    assert "tagged.flac" in page.locator("#track-list").inner_text()


def test_hostile_names_and_tags_are_text(batch: Path, visit: Callable[..., Visit]) -> None:
    """They are seen as they are, become no element, and run nothing."""
    shown = visit(_report(batch))
    page = shown.page
    page.get_by_role("button", name="Listen to <img").click()
    shown.until("window.stemsplit.player.duration > 0")
    assert page.evaluate("document.querySelectorAll('img, b, i, iframe').length") == 0
    assert page.evaluate("document.scripts.length") == 2
    name = page.locator("#track-list h3", has_text="onerror").inner_text()
    assert name.startswith("<img src=x onerror=alert(1)> <script><script>alert(2)<!-- {{data}}")
    assert all(url.endswith(".wav") for url in shown.requests[1:])
    page.fill("#search", "<img src=x")
    shown.until("document.querySelectorAll('#track-list > li').length === 1")


@pytest.mark.parametrize("stem_format", get_args(StemFormat))
def test_stems_stay_in_step(
    stem_format: str, song: NDArray[np.float32], tmp_path: Path, visit: Callable[..., Visit]
) -> None:
    """From the start, after a seek, and after a pause: within 30 ms, in every format."""
    soundfile.write(tmp_path / "song.wav", np.tile(song, (3, 1)), 44_100)
    assert _separate(tmp_path, "song.wav", "-o", "stems", "--format", stem_format) == 0
    shown = visit(_report(tmp_path))
    page = shown.page
    shown.listen("song.wav")
    play = page.get_by_role("button", name="Play", exact=True)
    play.click()
    shown.until("window.stemsplit.player.time > 0.2")
    started = shown.difference(800)
    assert started["most"] < 0.030
    assert started["paused"] == [False, False]
    page.get_by_label("Position in song.wav").fill("500")
    shown.until("window.stemsplit.player.time > 6.2")
    sought = shown.difference(800)
    assert sought["most"] < 0.030
    assert 6.5 < sought["time"] < 10
    page.get_by_role("button", name="Pause").click()
    paused = shown.difference(200)
    assert paused["paused"] == [True, True]
    play.click()
    shown.until(f"window.stemsplit.player.time > {paused['time'] + 0.1}")
    assert shown.difference(1000)["most"] < 0.030


def test_stems_that_were_brought_out_of_step_come_back(
    batch: Path, visit: Callable[..., Visit]
) -> None:
    """A disk that was busy, a computer that was: whatever it was."""
    shown = visit(_report(batch))
    shown.listen("first song.wav")
    shown.page.get_by_role("button", name="Play").click()
    shown.until("window.stemsplit.player.time > 0.2")
    for late in (0.08, 1.0):
        shown.page.evaluate(f"window.stemsplit.player.stems[1].audio.currentTime -= {late}")
        assert shown.difference(100)["most"] > 0.030
        shown.page.wait_for_timeout(3000)
        assert shown.difference(1000)["most"] < 0.030


def test_solo_mute_and_volume(batch: Path, visit: Callable[..., Visit]) -> None:
    """With the mouse and with the keyboard alone."""
    shown = visit(_report(batch))
    page = shown.page
    shown.listen("first song.wav")
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
    shown.until("Math.abs(window.stemsplit.player.time - 20) < 0.5")


def test_waveforms_and_timeline_are_drawn(batch: Path, visit: Callable[..., Visit]) -> None:
    """Levels of the stems, memory of the children, and a table that says the same."""
    page = visit(_report(batch)).page
    page.get_by_role("button", name="Listen to first song.wav").click()
    assert page.evaluate("window.stemsplit.player.stems.map((stem) => stem.levels.length > 200)")
    inked = """(canvas) => {
      const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
      return data.filter((value, i) => i % 4 === 3 && value > 0).length / (data.length / 4);
    }"""
    for name in (".stem canvas", "#memory canvas", "#lanes canvas"):
        assert page.locator(name).first.evaluate(inked) > 0.01, name
    page.locator("#attempts summary").click()
    rows = page.locator("#attempt-rows tr").all_inner_texts()
    assert len(rows) >= 4
    assert any("first song.wav" in row and "done" in row and "MiB" in row for row in rows)
    page.get_by_role("button", name="Zoom in").click()
    page.get_by_role("button", name="All of it").click()
    page.select_option("#run", "0")
    assert "1 child" in page.locator("#run-text").inner_text()


def test_search_filter_and_sort(batch: Path, visit: Callable[..., Visit]) -> None:
    """What is looked for is found, and the count is told to a screen reader too."""
    shown = visit(_report(batch))
    page = shown.page
    names = page.locator("#track-list h3")
    page.fill("#search", "SONG first")
    shown.until("document.getElementById('count').textContent.startsWith('1 of ')")
    assert names.all_inner_texts() == ["first song.wav"]
    page.fill("#search", "")
    page.select_option("#state", "failed")
    shown.until("document.getElementById('count').textContent.startsWith('2 of ')")
    page.select_option("#state", "done")
    page.select_option("#order", "longest")
    shown.until("document.getElementById('count').textContent.startsWith('3 of ')")
    assert names.all_inner_texts()[-1] == "tagged.flac"


def test_each_kind_of_warning_is_counted_and_found(
    song: NDArray[np.float32], tmp_path: Path, visit: Callable[..., Visit]
) -> None:
    """Damaged, clipped and with notes; failures by their reason."""
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
    shown = visit(_report(tmp_path))
    page = shown.page
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
    shown.until("document.getElementById('count').textContent.startsWith('1 of ')")


def test_the_folder_can_be_moved(batch: Path, tmp_path: Path, visit: Callable[..., Visit]) -> None:
    """Stems and page together, to anywhere; also a page beside the folder."""
    _report(batch)
    _report(batch, "beside.html")
    moved = tmp_path / "elsewhere, with ünusual #name%20"
    shutil.copytree(batch, moved)
    for page in ("stems/report.html", "beside.html"):
        shown = visit(moved / page)
        shown.listen("first song.wav")
        shown.until("window.stemsplit.player.duration > 39")
        assert all("elsewhere" in url for url in shown.requests)


def test_a_stem_that_is_gone_is_told_and_the_others_play(
    batch: Path, tmp_path: Path, browser: Browser
) -> None:
    """In a sentence, at the player; if all are gone, there is nothing to press."""
    _report(batch)
    moved = tmp_path / "moved"
    shutil.copytree(batch / "stems", moved)
    folder = moved / "Unknown artist" / "first song"
    (folder / "first song vocals.wav").unlink()
    shown = Visit(browser.new_page())
    page = shown.page
    page.goto((moved / "report.html").as_uri())
    shown.listen("first song.wav")
    play = page.get_by_role("button", name="Play", exact=True)
    play.click()
    page.get_by_role("alert").wait_for()
    assert page.get_by_role("alert").inner_text().startswith("vocals cannot be played")
    shown.until("window.stemsplit.player.time > 0.3")
    assert page.get_by_role("button", name="Pause", exact=True).is_visible()
    assert page.get_by_role("button", name="Solo vocals").is_disabled()
    page.get_by_role("button", name="Listen to first song.wav").click()
    (folder / "first song accompaniment.wav").unlink()
    page.reload()
    shown.listen("first song.wav")
    shown.until("document.querySelector('[role=alert]').textContent.startsWith('vocals, acc')")
    assert play.is_disabled()
    page.close()


def test_to_the_very_end_and_from_the_beginning_again(
    batch: Path, visit: Callable[..., Visit]
) -> None:
    """The slider's end is not past the music; what has ended begins anew."""
    shown = visit(_report(batch))
    page = shown.page
    shown.listen("first song.wav")
    page.get_by_role("button", name="Play", exact=True).click()
    page.get_by_label("Position in first song.wav").press("End")
    shown.until("!window.stemsplit.player.playing")
    assert page.get_by_role("button", name="Play", exact=True).is_visible()
    page.get_by_role("button", name="Play", exact=True).click()
    shown.until("window.stemsplit.player.time > 0.1 && window.stemsplit.player.time < 5")
    page.get_by_label("Position in first song.wav").press("ArrowRight")
    shown.until("window.stemsplit.player.time > 5 && window.stemsplit.player.time < 10")


def test_stems_of_an_earlier_model_are_not_played_with_the_last(
    song: NDArray[np.float32], tmp_path: Path, visit: Callable[..., Visit]
) -> None:
    """They stay on the disk, and would be heard twice."""
    soundfile.write(tmp_path / "song.wav", song, 44_100)
    assert _separate(tmp_path, "song.wav", "-o", "stems") == 0
    assert _separate(tmp_path, "song.wav", "-o", "stems", "--stems", "vocals", "--residual") == 0
    assert (tmp_path / "stems/song/accompaniment.wav").exists()
    shown = visit(_report(tmp_path))
    shown.listen("song.wav")
    names = "window.stemsplit.player.stems.map((stem) => stem.name)"
    assert shown.page.evaluate(names) == ["vocals", "residual"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 360])
def test_no_serious_fault_of_accessibility(
    scheme: str, width: int, batch: Path, visit: Callable[..., Visit]
) -> None:
    """By axe-core, with everything opened; and nothing is wider than the window."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    options = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}
    shown = visit(_report(batch), bypass_csp=True, **options)
    page = shown.page
    shown.listen("first song.wav")
    page.get_by_role("button", name="Solo vocals").click()
    page.locator("#attempts summary").click()
    page.locator("#failure-list summary").click()
    found = axe.run(page).response["violations"]
    assert [
        (one["id"], one["impact"], [node["html"] for node in one["nodes"]])
        for one in found
        if one["impact"] in {"serious", "critical"}
    ] == []
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wide) <= 0


def test_light_and_dark_can_be_chosen_and_are_kept(
    batch: Path, visit: Callable[..., Visit]
) -> None:
    """Against the system's choice, and after the page is opened again."""
    page = visit(_report(batch), color_scheme="light").page
    back = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(back)
    button = page.locator("#theme")
    button.click()
    button.click()
    assert button.inner_text() == "Theme: dark"
    assert page.evaluate(back) != light
    page.reload()
    assert button.inner_text() == "Theme: dark"
    assert page.evaluate(back) != light


def test_everything_can_be_reached_by_keyboard(batch: Path, visit: Callable[..., Visit]) -> None:
    """From the skip link on, to the player of the first track."""
    shown = visit(_report(batch))
    page = shown.page
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
    shown.until("window.stemsplit.player.time > 0.1")


def test_five_thousand_tracks(tmp_path: Path, visit: Callable[..., Visit]) -> None:
    """A page of a size to be sent, of which no more is drawn than can be seen, and all is found."""
    make_journal(tmp_path / "stems", 5000)
    path = _report(tmp_path)
    assert path.stat().st_size < 25e6
    shown = visit(path)
    page = shown.page
    assert page.locator("#track-list > li").count() == 50
    assert page.locator("#failure-list > li").count() == 20
    assert "1 to 50 of 5,000" in page.locator("#track-pages").inner_text()
    page.locator("#track-pages").get_by_role("button", name="Next").click()
    assert "51 to 100" in page.locator("#track-pages").inner_text()
    assert page.evaluate("document.activeElement.id") == "track-list"
    page.locator("#track-pages").get_by_role("button", name="Last").click()
    assert "4,951 to 5,000" in page.locator("#track-pages").inner_text()
    page.fill("#search", "SONG 04999")
    shown.until("document.getElementById('count').textContent === '1 of 5,000 tracks'")
    assert page.locator("#track-pages").is_hidden()
