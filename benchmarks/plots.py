"""Colours and style of the charts in the documentation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, ACCENT, PALE, OTHER = "#1f3a5f", "#d1495b", "#9aa5b1", "#2a9d8f"
PICTURES = Path(__file__).parents[1] / "docs" / "pictures"

plt.rcParams.update(
    {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
     "grid.color": "#e6e6e6", "axes.axisbelow": True, "legend.frameon": False}
)  # fmt: skip


def save(figure: Figure, path: Path) -> None:
    """Save a figure as a picture, and close it."""
    figure.savefig(path, dpi=90, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    print(path)
