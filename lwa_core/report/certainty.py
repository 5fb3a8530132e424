"""What the report says of how sure the order of the layers is, and of how far the scorers agree on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from lwa_core.report.charts import ACCENT, FAINT, draw_svg
from lwa_core.results.figures import NOT_MEASURED, number, percent
from lwa_core.results.schema import Agreement, ScorerResult
from lwa_core.results.warnings import STABLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Scores = Sequence[ScorerResult]


@attrs.frozen
class Cell:
    """What a cell says, a smaller second line, and how strongly it is tinted, −1 to 1 (negative: the other colour)."""

    shown: str
    small: str = ""
    strength: float = 0.0


@attrs.frozen
class Matrix:
    """A table whose cells are tinted, under a title. `corner` names what the rows are."""

    title: str
    corner: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell]]]

    @property
    def head(self) -> tuple[str, ...]:
        return (self.corner, *self.columns)

    @property
    def cells(self) -> list[tuple[str, ...]]:
        """The rows without colours."""
        return [(name, *(f"{c.shown} ({c.small})" if c.small else c.shown for c in row)) for name, row in self.rows]


def told(scores: Scores, agreement: Agreement | None) -> dict[str, Any]:
    """Everything of this that the templates show, but the charts; `pairs` is None where there are none."""
    compared = agreement is not None and len(agreement.names) > 1
    return {
        "bottom": list(bottom(scores)),
        "resamples": max((chance.resamples for entry in scores for chance in entry.bottom or ()), default=0),
        "stability": stability_table(scores),
        "pairs": pairs(agreement) if agreement is not None and compared else None,
    }


def pairs(agreement: Agreement) -> dict[str, Any]:
    """What is said of every two scorers."""
    return {
        "tau": tau(agreement),
        "overlap": list(overlaps(agreement)),
        "concordance": concordance(agreement),
        "permutations": permutations(agreement),
    }


def note(scores: ScorerResult) -> str:
    """What the scores are means of, and how stable their order is."""
    if scores.combines:
        made = f"made of the ranks by {', '.join(scores.combines)}"
        return f"{made}; the interval is over these scorers" if scores.count > 1 else made
    if scores.count < 2:
        return "one sample: no sampling error"
    stability = NOT_MEASURED if scores.stability is None else number(scores.stability, 2)
    said = f"{scores.count:,} samples; rank correlation between halves of them: {stability}"
    posterior = scores.facts.get("laplace")
    return f"{said}. No measure of importance: see the uncertainty of the model" if posterior else said


def bottom(scores: Scores) -> Iterator[Matrix]:
    """For each number of removed layers, how probable it is for a layer to be among so many lowest."""
    depth = max((len(entry.mean) for entry in scores), default=0)
    for removed in sorted({chance.removed for entry in scores for chance in entry.bottom or ()}):
        rows = []
        for entry in scores:
            name = f"{entry.name} (over its scorers)" if entry.combines else entry.name
            rows += [
                (name, [Cell(_chance(p), strength=p) for p in chance.probability])
                for chance in entry.bottom or ()
                if chance.removed == removed
            ]
        title = "the lowest layer" if removed == 1 else f"among the {removed} lowest layers"
        yield Matrix(f"Probability of being {title}", "scorer", [str(layer) for layer in range(depth)], rows)


def _chance(p: float) -> str:
    """Two digits; 0 and 1 only where it is exactly that."""
    if 0 < p < 0.005:
        return "<0.01"
    return ">0.99" if 0.995 <= p < 1 else f"{p:.2f}" if 0 < p < 1 else f"{p:.0f}"


def stability_table(scores: Scores) -> Matrix | None:
    """The stability curves as figures."""
    curves = {entry.name: dict(entry.stability_curve) for entry in scores}
    sizes = sorted({n for curve in curves.values() for n in curve})
    if not sizes:
        return None
    rows = [(name, [Cell(number(curve[n], 2) if n in curve else "") for n in sizes]) for name, curve in curves.items()]
    return Matrix("", "scorer", [f"{n:,}" for n in sizes], [row for row in rows if any(c.shown for c in row[1])])


def stability_chart(scores: ScorerResult) -> str | None:
    """How well the order of the layers is found again by other samples, against how many; None where it is unknown."""
    curve = scores.stability_curve
    if not curve:
        return None

    def draw(axes: Axes) -> None:
        sizes, values = zip(*curve, strict=True)
        axes.axhline(STABLE, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.plot(range(len(sizes)), values, color=ACCENT, linewidth=1.6, marker="o", markersize=3)
        axes.set_xticks(range(len(sizes)), [str(n) for n in sizes])
        axes.set_xlim(-0.3, max(len(sizes) - 0.7, 0.3))
        axes.set_ylim(min(0.0, *values) - 0.03, 1.03)
        axes.set_xlabel("samples")
        axes.set_ylabel("rank correlation")

    return draw_svg(f"stability of {scores.name} by number of samples", draw, height=1.55)


def tau(agreement: Agreement) -> Matrix:
    """Kendall's tau-b of every two scorers with its p-value."""
    names, p_values = agreement.names, agreement.kendall_p
    rows = []
    for i, name in enumerate(names):
        taus = enumerate(agreement.kendall[i])
        rows.append((name, [Cell(number(t, 2), _p(p_values[i][j] if p_values else None), t) for j, t in taus]))
    return Matrix("Kendall's τ-b", "", names, rows)


def overlaps(agreement: Agreement) -> Iterator[Matrix]:
    """How many of the kept layers every two scorers share, for each number of kept layers; chance has no tint."""
    names = agreement.names
    for entry in agreement.overlap:
        k, chance, rows = entry.k, entry.chance, []
        for i, name in enumerate(names):
            found = zip(entry.shared[i], entry.p[i], strict=True)
            rows.append((name, [Cell(str(n), _p(p), (n - chance) / (k - chance)) for n, p in found]))
        title = f"Shared among the {k} highest (by chance {number(chance, 1)}, {percent(chance / k)})"
        if k == 1:
            title = f"The same highest layer (by chance {percent(chance)})"
        yield Matrix(title, "", names, rows)


def concordance(agreement: Agreement) -> str | None:
    """Kendall's W in a sentence; None where there are not two scorers to compare."""
    found = agreement.concordance
    if found is None:
        return None
    names = found.names
    whose = f"{', '.join(names[:-1])} and {names[-1]}"
    said = f"Kendall's W of {whose} is {number(found.w, 2)} (1: the same order; independent orders average "
    said += f"{number(1 / len(names), 2)}), p = {_digits(found.p)}"
    if found.p <= 0.05:
        return f"{said}: they agree more than independent orders do."
    return f"{said}: they are not shown to agree more than independent orders do."


def permutations(agreement: Agreement) -> str:
    """How the p-values of tau were found."""
    count = agreement.permutations
    if not count:
        return ""
    return f"all {count:,} orders" if agreement.exact else f"{count:,} random orders"


def _p(p: float | None) -> str:
    return "" if p is None else f"p {_digits(p)}"


def _digits(p: float) -> str:
    return f"{p:.2f}" if p >= 0.1 else f"{p:.1g}" if p < 0.001 else f"{p:.2g}"
