"""Charts as SVG that is put into the page: small enough for a phone, in the colours of the page's theme."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

import attrs

from lwa_core.printable import one_line
from lwa_core.results.schema import ScorerResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Stand-ins that matplotlib accepts; `_themed` turns them into the page's own colours, so that a dark page has a dark
# chart without drawing it twice.
INK, FAINT, ACCENT, SECOND, CARD = "#010101", "#020202", "#030303", "#040404", "#050505"
THEME = {
    INK: "var(--ink)",
    FAINT: "var(--faint)",
    ACCENT: "var(--accent)",
    SECOND: "var(--second)",
    CARD: "var(--card)",
}
KINDS = {
    "teacher": (INK, "s"),
    "student": (ACCENT, "o"),
    "control": (INK, "D"),
    "export": (ACCENT, "*"),
    "baseline": (SECOND, "^"),
}

STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a `$` in a name is a `$`
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.unicode_minus": True,
}


@attrs.frozen
class Point:
    """A model in a chart of two measured quantities; `low` and `high` bound the vertical one."""

    name: str = attrs.field(converter=one_line)
    kind: str
    x: float
    y: float
    low: float | None
    high: float | None


def layer_scores(scores: ScorerResult) -> str:
    """One scorer: the score of every layer with its interval."""

    def draw(axes: Axes) -> None:
        layers = range(len(scores.mean))
        axes.bar(layers, scores.mean, width=0.68, color=ACCENT, linewidth=0)
        if scores.low is not None and scores.high is not None:
            below = [0.0 if low is None else m - low for m, low in zip(scores.mean, scores.low, strict=True)]
            above = [0.0 if high is None else high - m for m, high in zip(scores.mean, scores.high, strict=True)]
            axes.errorbar(layers, scores.mean, yerr=[below, above], fmt="none", ecolor=INK, elinewidth=1, capsize=2)
        axes.axhline(0, color=FAINT, linewidth=0.8)
        axes.set_xlabel("layer")
        axes.set_ylabel(one_line(scores.unit) or "score")
        axes.set_xticks(list(layers) if len(layers) <= 16 else list(layers)[:: len(layers) // 12 + 1])

    return draw_svg(f"scores of {scores.name}", draw, height=2.2)


def forest(points: Sequence[Point], label: str) -> str:
    """One line a model: its figure with its interval, in the order given from the top. `x` is not used."""

    def draw(axes: Axes) -> None:
        for row, point in enumerate(reversed(points)):
            color, marker = KINDS[point.kind]
            if point.low is not None and point.high is not None:
                axes.plot([point.low, point.high], [row, row], color=color, linewidth=1.6)
            axes.plot([point.y], [row], marker=marker, color=color, markersize=5, linestyle="none")
        axes.set_yticks(range(len(points)), [point.name for point in reversed(points)])
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color=FAINT, linewidth=0.4, alpha=0.5)
        axes.set_ylim(-0.7, len(points) - 0.3)
        axes.set_xlabel(label)

    return draw_svg(f"{label} of every model", draw, height=0.8 + 0.27 * len(points))


def trade_off(points: Sequence[Point], across: str, up: str) -> str:
    """Quality against a cost: every point was measured, and no line is drawn between them."""

    def draw(axes: Axes) -> None:
        for point in points:
            color, marker = KINDS[point.kind]
            if point.low is not None and point.high is not None:
                axes.plot([point.x, point.x], [point.low, point.high], color=color, linewidth=1.2)
            axes.plot([point.x], [point.y], marker=marker, color=color, markersize=5, linestyle="none")
        widest = max(point.x for point in points)
        axes.set_xlim(0, widest * 1.06)
        for point, height in zip(points, _apart(axes, points), strict=True):
            right = point.x > widest / 2
            axes.annotate(
                point.name,
                (point.x, height),
                xytext=(-6 if right else 6, 0),
                textcoords="offset points",
                ha="right" if right else "left",
                va="center",
                fontsize=8,
                # readable over another point's bar, without hiding it
                bbox={"facecolor": CARD, "edgecolor": "none", "pad": 0.8, "alpha": 0.6},
            )
        axes.grid(color=FAINT, linewidth=0.4, alpha=0.5)
        axes.set_xlabel(across)
        axes.set_ylabel(up)

    return draw_svg(f"{up} against {across}", draw, height=2.8)


def training_curve(name: str, history: Sequence[Mapping[str, float]], key: str, label: str, best: int) -> str:
    """One figure over the epochs; the epoch whose weights were kept is marked."""
    from matplotlib.ticker import MaxNLocator

    def draw(axes: Axes) -> None:
        epochs, values = [e["epoch"] for e in history], [e[key] for e in history]
        axes.plot(epochs, values, color=ACCENT, linewidth=1.6, marker="o", markersize=2.5)
        kept = [value for epoch, value in zip(epochs, values, strict=True) if epoch == best]
        if kept:
            axes.plot([best], kept, marker="o", markersize=7, markerfacecolor="none", color=INK, linestyle="none")
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))

    return draw_svg(f"{label} of {name} by epoch", draw, height=2.0)


def _apart(axes: Axes, points: Sequence[Point]) -> list[float]:
    """Heights for the labels so that those of points near each other do not cover each other."""
    low, high = axes.get_ylim()
    gap, reach = (high - low) * 0.065, max(point.x for point in points) * 0.3
    heights = [point.y for point in points]
    placed: list[int] = []
    for row in sorted(range(len(points)), key=lambda row: heights[row]):
        for other in placed:  # from the lowest up: each step can only push further up
            if abs(points[other].x - points[row].x) < reach and abs(heights[row] - heights[other]) < gap:
                heights[row] = heights[other] + gap
        placed.append(row)
        placed.sort(key=lambda row: heights[row])
    return heights


def draw_svg(name: str, draw: Callable[[Axes], None], height: float) -> str:
    """Draw on axes 4.2 inches wide; the SVG is the same text whenever and wherever it is drawn."""
    import matplotlib as mpl
    from cycler import cycler
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    own = {"axes.prop_cycle": cycler(color=[ACCENT]), "svg.hashsalt": name}
    with mpl.rc_context({**mpl.rcParamsDefault, **STYLE, **own}):
        figure = Figure(figsize=(4.2, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        file = io.StringIO()
        figure.savefig(
            file, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    return _themed(file.getvalue(), name)


def _themed(svg: str, name: str) -> str:
    """The `<svg>` element alone, with the page's colours and fonts, and without ids that nothing refers to."""
    svg = svg[svg.index("<svg") :]
    for stand_in, color in THEME.items():
        svg = svg.replace(stand_in, color)
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style.*?</style>\s*", "", svg, flags=re.DOTALL)  # inside a page it would apply to all of it
    svg = re.sub(r" font-family: [^\"]*?sans-serif;", "", svg)
    used = set(re.findall(r"#([\w.-]+)", svg))
    svg = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", svg)
    svg = re.sub(r' (width|height)="[0-9.]+pt"', "", svg, count=2)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(one_line(name))}" ', 1).strip()
