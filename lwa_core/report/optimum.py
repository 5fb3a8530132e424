"""What the report says of how near the chosen layers are to the best set, where every set was measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from lwa_core.report.charts import ACCENT, FAINT, INK, SECOND, draw_svg
from lwa_core.report.tables import Table
from lwa_core.results.figures import signed, with_interval
from lwa_core.results.schema import Figure, Metrics, Optimality
from lwa_core.statistics.means import FEWEST

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UTILITIES = {
    "loss": "minus the cross-entropy",
    "kl": "minus the divergence from the full model",
    "scaled-loss": "minus the cross-entropy at the best temperature",
    "ndcg": "NDCG",
}
UNITS = {"loss": "nats", "kl": "nats", "scaled-loss": "nats", "ndcg": ""}


def told(metrics: Metrics) -> dict[str, Any] | None:
    """Everything of this that the templates show, but the chart; None where not every set was measured."""
    found = metrics.optimality
    if found is None:
        return None
    depth = len(found.depths)
    return {
        "found": found,
        "subsets": 2**depth,
        "utility": UTILITIES.get(found.utility, found.utility),
        "unit": UNITS.get(found.utility, ""),
        "tiers": tiers(found, depth),
        "few": found.examples < FEWEST,
        "smallest": FEWEST,
        "mean_regret": None if found.mean_regret is None else with_interval(found.mean_regret, signed),
        "depths": depths(found),
    }


def tiers(found: Optimality, depth: int) -> Table:
    """Every tier beside the best set of its size and a random one."""
    rows = [
        (
            f"{tier.layers} of {depth}",
            _layers(tier.kept),
            with_interval(tier.difference, signed),
            with_interval(tier.regret, signed),
            with_interval(tier.gain, signed),
            f"{tier.rank:,} of {tier.subsets:,}",
        )
        for tier in found.tiers
    ]
    return Table(("depth", "layers", "less the full model", "regret", "gain over a random set", "rank"), rows)


def depths(found: Optimality) -> Table:
    """For every number of layers but all: the best set on these examples, the oracle and a random set."""
    rows = [
        (
            str(entry.layers),
            _layers(entry.kept),
            *(with_interval(figure, signed) for figure in (entry.best, entry.oracle, entry.random)),
            f"{entry.oracle_choices:,}",
        )
        for entry in reversed(found.depths[:-1])
    ]
    return Table(("depth", "best set here", "its utility", "oracle", "random set", "choices"), rows)


def chart(found: Optimality) -> str:
    """Utility less the full model's against the number of layers: oracle, random set, and the chosen tiers."""

    def draw(axes: Axes) -> None:
        axes.axhline(0, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
        _marks(axes, ((entry.layers, entry.random) for entry in found.depths), SECOND, "^", -0.12)
        _marks(axes, ((entry.layers, entry.oracle) for entry in found.depths), INK, "D", 0.0)
        _marks(axes, ((tier.layers, tier.difference) for tier in found.tiers), ACCENT, "o", 0.12)
        count = len(found.depths)
        axes.set_xticks(range(1, count + 1) if count <= 16 else range(1, count + 1, count // 12 + 1))
        axes.set_xlim(0.5, count + 0.5)
        axes.grid(axis="y", color=FAINT, linewidth=0.4, alpha=0.5)
        axes.set_xlabel("layers that stay")
        unit = UNITS.get(found.utility, "") or UTILITIES.get(found.utility, found.utility)
        axes.set_ylabel(f"less the full model's [{unit}]")

    return draw_svg(
        "utility of the chosen layers, of the oracle and of a random set by number of layers", draw, height=2.8
    )


def _marks(axes: Axes, entries: Iterable[tuple[int, Figure]], color: str, marker: str, aside: float) -> None:
    """Means with their intervals, a little aside so that they do not cover each other."""
    for layers, figure in entries:
        if figure.mean is None:
            continue
        x = layers + aside
        if figure.low is not None and figure.high is not None:
            axes.plot([x, x], [figure.low, figure.high], color=color, linewidth=1.2)
        face = "none" if marker == "D" else color
        axes.plot([x], [figure.mean], marker, color=color, markerfacecolor=face, markersize=4.5)


def _layers(kept: Sequence[int]) -> str:
    return ", ".join(map(str, kept))
