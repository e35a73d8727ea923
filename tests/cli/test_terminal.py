"""The display in a real pseudo-terminal, drawn by a terminal emulator."""

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
    """A command in its own terminal, with the screen that a user would see."""

    def __init__(
        self, arguments: list[str], *, folder: Path, columns: int, **variables: str
    ) -> None:
        """Start the command, with these variables added to its environment."""
        self.screen = pyte.Screen(columns, 24)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        environment = {"TERM": "xterm-256color", **os.environ, **variables}
        for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
            if name not in variables:
                environment.pop(name, None)
        self._process = pexpect.spawn(
            str(COMMAND), arguments, cwd=folder, env=environment, dimensions=(24, columns)
        )

    @property
    def text(self) -> str:
        """The lines of the screen."""
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    def read(self) -> bool:
        """Read new output; return False at the end."""
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
        """Read until the screen meets a condition, and return its text."""
        deadline = time.monotonic() + seconds
        while not condition(self.text):
            assert self.read(), f"ended with\n{self.text}"
            assert time.monotonic() < deadline, f"still\n{self.text}"
        return self.text

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self._process.sendintr()

    def resize(self, columns: int) -> None:
        """Change the width of the window."""
        self._process.setwinsize(24, columns)
        self.screen.resize(24, columns)

    def end(self) -> int:
        """Read to the end and return the exit code."""
        deadline = time.monotonic() + 100
        while self.read():
            assert time.monotonic() < deadline, f"still\n{self.text}"
        self._process.close()
        return int(self._process.exitstatus)

    def kill(self) -> None:
        """Terminate the command if it still runs."""
        self._process.close(force=True)


@pytest.fixture
def open_terminal(tmp_path: Path, song: NDArray[np.float32]) -> Iterator[Callable[..., Terminal]]:
    """Return a function that separates songs, one of them broken, in a terminal."""
    songs = tmp_path / "songs"
    songs.mkdir()
    (songs / "broken.wav").write_bytes(b"no audio, although it is long enough to be some")
    opened: list[Terminal] = []

    def start(
        *options: str, columns: int = 100, seconds: int = 120, **environment: str
    ) -> Terminal:
        for name in ("first song.wav", "second song.wav"):
            soundfile.write(songs / name, np.tile(song, (seconds // 4, 1)), 44_100)
        arguments = ["separate", "songs", "-o", "stems", "--jobs", "1", *options]
        opened.append(Terminal(arguments, folder=tmp_path, columns=columns, **environment))
        return opened[-1]

    yield start
    for terminal in opened:
        terminal.kill()


def test_a_batch_with_a_failure(
    open_terminal: Callable[..., Terminal],
) -> None:
    """It shows bars, a line for each finished track, and at any time the last failure."""
    terminal = open_terminal()
    measured = re.compile(
        r"^(?:first|second) song\.wav .*separating .*\d+% +[\d,]+ of [\d,]+ MiB$", re.MULTILINE
    )
    middle = terminal.until(lambda text: bool(measured.search(text)) and "times real time" in text)
    assert re.search(r"\d+%  \d of 3 tracks, \d:\d\d of 4:00", middle)
    (child,) = re.findall(r"^(?:first|second) song\.wav .*$", middle, re.MULTILINE)
    assert BARS.search(child)
    failed = terminal.until(lambda text: "1 failed, last broken.wav" in text)
    assert "failed: songs/broken.wav: “broken.wav” is a text file, not audio" in " ".join(
        failed.split()
    )
    assert terminal.end() == 3
    end = terminal.text
    assert not BARS.search(end), end
    assert not terminal.screen.cursor.hidden
    lines = end.splitlines()
    for name in ("first", "second"):
        assert any(re.match(rf"\[\d/3\] done: {name} song\.wav, 2:00 in", line) for line in lines)
    assert "2 separated, 1 failed" in end
    assert "1 failed, last" not in end, "the line of the bars is cleared"


def test_ctrl_c_leaves_a_clean_screen(open_terminal: Callable[..., Terminal]) -> None:
    """The first Ctrl-C announces the end; the second one clears the bars."""
    terminal = open_terminal()
    terminal.until(lambda text: "separating" in text)
    terminal.interrupt()
    draining = terminal.until(lambda text: "press Ctrl-C again" in text)
    assert "finishing the running tracks" in draining
    terminal.interrupt()
    assert terminal.end() == 130
    assert not BARS.search(terminal.text), terminal.text
    assert not terminal.screen.cursor.hidden
    assert terminal.text.splitlines()[-1].startswith("stemsplit: Interrupted")
    assert "finishing the running" not in terminal.text


def test_a_window_that_is_widened(open_terminal: Callable[..., Terminal]) -> None:
    """The memory is hidden in a narrow window, and shown in a wide one."""
    terminal = open_terminal(columns=44)
    narrow = terminal.until(lambda text: "separating" in text and "%" in text)
    assert not re.search(r"^(?:first|second) song.*MiB", narrow, re.MULTILINE)
    terminal.resize(100)
    terminal.until(
        lambda text: bool(re.search(r"^(?:first|second) song.* MiB$", text, re.MULTILINE))
    )
    assert terminal.end() == 3
    assert not terminal.screen.cursor.hidden


def test_without_colour(open_terminal: Callable[..., Terminal]) -> None:
    """`NO_COLOR` removes colours, but not the bars."""
    terminal = open_terminal(seconds=40, NO_COLOR="1")
    terminal.until(lambda text: "separating" in text and BARS.search(text) is not None)
    assert terminal.end() == 3
    assert not COLOUR.search(terminal.raw)


def test_a_terminal_without_cursor_control(open_terminal: Callable[..., Terminal]) -> None:
    """The output is plain lines without escape sequences."""
    terminal = open_terminal(seconds=4, TERM="dumb")
    assert terminal.end() == 3
    assert b"\x1b" not in terminal.raw
    assert "[3/3] done" in terminal.text


def test_failures_are_red(open_terminal: Callable[..., Terminal]) -> None:
    """Lines of finished tracks are not red."""
    terminal = open_terminal(seconds=4)
    assert terminal.end() == 3
    red = b"\x1b[31m"
    assert red + b"[1/3] failed" in terminal.raw.replace(b"\r\n", b"")
    assert red + b"[2/3] done" not in terminal.raw
