"""What a person sees: the installed command in a real pseudo-terminal, drawn by an emulator."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

pexpect = pytest.importorskip("pexpect")
pyte = pytest.importorskip("pyte")

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("real_models")]

COMMAND = Path(sys.executable).with_name("stemsplit")
BARS = re.compile("[━╸╺]")
COLOUR = re.compile(rb"\x1b\[(?:\d+;)*(?:3[0-8]|9[0-7])(?:;\d+)*m")


class Terminal:
    """A command in a terminal of its own; the screen is what a person would see."""

    def __init__(self, arguments: list[str], *, folder: Path, columns: int, **more: str) -> None:
        """Start it; `more` are variables of its environment."""
        self.screen = pyte.Screen(columns, 24)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        environment = {"TERM": "xterm-256color", **os.environ, **more}
        for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
            if name not in more:
                environment.pop(name, None)
        self._process = pexpect.spawn(
            str(COMMAND), arguments, cwd=folder, env=environment, dimensions=(24, columns)
        )

    @property
    def text(self) -> str:
        """The lines of the screen."""
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    def read(self) -> bool:
        """Take in what is printed; False at the end."""
        try:
            new = self._process.read_nonblocking(65_536, timeout=0.05)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.raw += new
        self._stream.feed(new)
        return True

    def until(self, condition: Callable[[str], bool], seconds: float = 60) -> str:
        """Read until the screen is as wanted, and give it."""
        deadline = time.monotonic() + seconds
        while not condition(self.text):
            assert self.read(), f"ended with\n{self.text}"
            assert time.monotonic() < deadline, f"still\n{self.text}"
        return self.text

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self._process.sendintr()

    def resize(self, columns: int) -> None:
        """Make the window as wide."""
        self._process.setwinsize(24, columns)
        self.screen.resize(24, columns)

    def end(self) -> int:
        """Read to the end, and give the exit code."""
        deadline = time.monotonic() + 100
        while self.read():
            assert time.monotonic() < deadline, f"still\n{self.text}"
        self._process.close()
        return int(self._process.exitstatus)

    def kill(self) -> None:
        """End it if it still runs."""
        self._process.close(force=True)


@pytest.fixture
def terminal(tmp_path: Path, song: NDArray[np.float32]) -> Iterator[Callable[..., Terminal]]:
    """Separate a folder of songs, one of them broken, in a terminal of so many columns."""
    songs = tmp_path / "songs"
    songs.mkdir()
    for name in ("first song.wav", "second song.wav"):
        soundfile.write(songs / name, np.tile(song, (30, 1)), 44_100)
    (songs / "broken.wav").write_bytes(b"no audio, although it is long enough to be some")
    opened: list[Terminal] = []

    def begin(*options: str, columns: int = 100, **environment: str) -> Terminal:
        arguments = ["separate", "songs", "-o", "stems", "--jobs", "1", *options]
        opened.append(Terminal(arguments, folder=tmp_path, columns=columns, **environment))
        return opened[-1]

    yield begin
    for one in opened:
        one.kill()


def test_a_batch_with_a_failure_from_its_start_to_its_end(
    terminal: Callable[..., Terminal],
) -> None:
    """Bars while it works, a line for what has ended, the failure always in sight."""
    shown = terminal()
    measured = re.compile(
        r"^(?:first|second) song\.wav .*separating .*\d+% +[\d,]+ of [\d,]+ MiB$", re.MULTILINE
    )
    middle = shown.until(lambda text: bool(measured.search(text)) and "times real time" in text)
    assert re.search(r"\d+%  \d of 3 tracks, \d:\d\d of 4:00", middle)
    (child,) = re.findall(r"^(?:first|second) song\.wav .*$", middle, re.MULTILINE)
    assert BARS.search(child)
    failed = shown.until(lambda text: "1 failed, last broken.wav" in text)
    assert "failed: songs/broken.wav: “broken.wav” is a text file, not audio" in " ".join(
        failed.split()
    )
    assert shown.end() == 3
    end = shown.text
    assert not BARS.search(end), end
    assert not shown.screen.cursor.hidden
    lines = end.splitlines()
    for name in ("first", "second"):
        assert any(re.match(rf"\[\d/3\] done: {name} song\.wav, 2:00 in", line) for line in lines)
    assert "2 separated, 1 failed" in end
    assert "1 failed, last" not in end, "that was the bars' own line"


def test_ctrl_c_leaves_a_clean_screen(terminal: Callable[..., Terminal]) -> None:
    """Once: it says that it finishes; twice: nothing is left of the bars."""
    shown = terminal()
    shown.until(lambda text: "separating" in text)
    shown.interrupt()
    draining = shown.until(lambda text: "press Ctrl-C again" in text)
    assert "finishing what is being separated" in draining
    shown.interrupt()
    assert shown.end() == 130
    assert not BARS.search(shown.text), shown.text
    assert not shown.screen.cursor.hidden
    assert shown.text.splitlines()[-1].startswith("stemsplit: Interrupted")
    assert "finishing what is" not in shown.text


def test_a_narrow_window_that_is_made_wider(terminal: Callable[..., Terminal]) -> None:
    """What has no room is left out, and comes back; no line is broken by the bars."""
    shown = terminal(columns=44)
    narrow = shown.until(lambda text: "separating" in text and "%" in text)
    assert not re.search(r"^(?:first|second) song.*MiB", narrow, re.MULTILINE)
    shown.resize(100)
    shown.until(lambda text: bool(re.search(r"^(?:first|second) song.* MiB$", text, re.MULTILINE)))
    assert shown.end() == 3
    assert not shown.screen.cursor.hidden


def test_without_colour(terminal: Callable[..., Terminal]) -> None:
    """NO_COLOR is heeded; the bars are drawn all the same."""
    shown = terminal(NO_COLOR="1")
    shown.until(lambda text: "separating" in text and BARS.search(text) is not None)
    assert shown.end() == 3
    assert not COLOUR.search(shown.raw)


def test_a_terminal_that_cannot_move_its_cursor(terminal: Callable[..., Terminal]) -> None:
    """Plain lines, and not one escape sequence."""
    shown = terminal(TERM="dumb")
    assert shown.end() == 3
    assert b"\x1b" not in shown.raw
    assert "[3/3] done" in shown.text


def test_failures_are_red_and_all_else_is_not(terminal: Callable[..., Terminal]) -> None:
    """Colour is for what a person has to look at."""
    shown = terminal()
    assert shown.end() == 3
    red = b"\x1b[31m"
    assert red + b"[1/3] failed" in shown.raw.replace(b"\r\n", b"")
    assert red + b"[2/3] done" not in shown.raw
