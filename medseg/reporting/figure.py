"""matplotlib without its global state: a figure, drawn by Agg, as PNG bytes."""

from __future__ import annotations

import base64
import io

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def new_figure(width: float, height: float, dpi: int = 144) -> Figure:
    """Return an empty figure of a size in inches, tied to the Agg canvas."""
    figure = Figure(figsize=(width, height), dpi=dpi)
    FigureCanvasAgg(figure)
    return figure


def png_bytes(figure: Figure) -> bytes:
    """Draw a figure; the same figure always gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def data_uri(png: bytes) -> str:
    """Return PNG bytes as an address that needs no file."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
