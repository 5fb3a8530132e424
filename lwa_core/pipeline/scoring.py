"""Ask scorers for their tables, and keep them: JSON and safetensors only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from safetensors.numpy import load_file, save_file

from lwa_core.errors import PluginError
from lwa_core.plugins.protocols import DrawsLabels, Finishing, HasUnit, ObservingScorer
from lwa_core.recipe.recipe import Use
from lwa_core.store.files import read_json, write_json
from lwa_core.types import LayerScores, Reporter, ScoreBoard

if TYPE_CHECKING:
    import torch

    from lwa_core.modeling.probing.probe import Probe


@attrs.frozen
class Scored:
    """A scorer's table, and what it costs alone, in passes over the calibration examples."""

    scores: LayerScores
    passes: float


def observed_scores(uses: Sequence[Use], probe: Probe, report: Reporter) -> dict[str, Scored]:
    """The tables of all observing scorers, from one pass over the calibration examples."""
    from lwa_core.modeling.probing.observation import observe, passes

    needs = frozenset().union(*(use.instance.observes for use in uses))
    draws = max((draws_of(use.instance) for use in uses), default=1)
    parts: dict[str, list[torch.Tensor]] = {use.name: [] for use in uses}
    done = 0
    for seen in observe(probe, needs, draws=draws):
        for use in uses:
            parts[use.name].append(use.instance.observe(seen))
        done += len(seen.mask)
        report.progress(done, probe.examples, "one pass for " + ", ".join(parts))
    scored = {}
    for use in uses:
        probe.facts = {}
        table = checked_table(use, finished(use.instance, parts[use.name], probe), probe.depth)
        cost = passes(use.instance.observes, draws_of(use.instance))
        scored[use.name] = Scored(layer_scores(use, table, probe.facts), cost)
    return scored


def finished(scorer: ObservingScorer, parts: Sequence[torch.Tensor], probe: Probe) -> torch.Tensor:
    """The table of an observing scorer, from what it gave for each micro-batch.

    Rows of examples are put back into the examples' own order. Where the scorer is not `Finishing`, they are the table.
    """
    import torch

    rows = torch.cat([part.detach().cpu() for part in parts])
    if len(rows) == probe.examples:
        rows = rows[torch.from_numpy(probe.order.argsort(kind="stable"))]
    return scorer.finish(rows, probe) if isinstance(scorer, Finishing) else rows


def queried_scores(use: Use, probe: Probe) -> Scored:
    """The table of a querying scorer."""
    table = checked_table(use, use.instance.score(probe), probe.depth, probe)
    return Scored(layer_scores(use, table, probe.facts), probe.cost)


def combined_scores(use: Use, board: ScoreBoard) -> Scored:
    """The table of a combining scorer, made from the scores on the board."""
    table = checked_table(use, use.instance.combine(board), board[board.names[0]].depth)
    return Scored(layer_scores(use, table, {"combines": board.names}), 0.0)


def layer_scores(use: Use, table: torch.Tensor, facts: Mapping[str, Any]) -> LayerScores:
    """A scorer's table with its name, its unit and what the scorer told besides."""
    unit = use.instance.unit if isinstance(use.instance, HasUnit) else ""
    return LayerScores(use.name, table.cpu().double().numpy(), unit, dict(facts))


def checked_table(use: Use, table: Any, depth: int, probe: Probe | None = None) -> torch.Tensor:
    """A scorer's table, if it is one: two axes, a column a layer, finite. Raises PluginError otherwise.

    Where a `probe` was asked, the error names layers whose answers were not finite themselves.
    """
    import torch

    who = f"scorer '{use.name}' of {use.offer.provider}"
    if not isinstance(table, torch.Tensor):
        raise PluginError(f"{who} gave {type(table).__name__} instead of a tensor (samples, layers)")
    if table.dim() != 2 or table.shape[1] != depth or not len(table):
        raise PluginError(f"{who} gave a table of shape {tuple(table.shape)} instead of (samples, {depth})")
    if not bool(torch.isfinite(table).all()):
        sets = [] if probe is None else probe.broken
        named = (
            f": nor are answers of the model with just layers {', '.join(map(str, sets[0])) or 'none'}" if sets else ""
        )
        raise PluginError(f"{who} gave scores that are not finite{named}")
    return table.detach()


def is_observing(use: Use) -> bool:
    """Whether a scorer looks at the shared pass (else it asks the probe)."""
    return isinstance(use.instance, ObservingScorer)


def draws_of(scorer: object) -> int:
    """How many drawings of labels a scorer needs."""
    return scorer.draws if isinstance(scorer, DrawsLabels) else 1


def write_scores(folder: Path, scored: Scored) -> None:
    """Write a scorer's table."""
    scores = scored.scores
    save_file({"samples": np.ascontiguousarray(scores.samples)}, folder / "samples.safetensors")
    write_json(folder / "scores.json", {"unit": scores.unit, "facts": dict(scores.facts), "passes": scored.passes})


def read_scores(name: str, folder: Path) -> LayerScores:
    """Read a scorer's table."""
    samples = load_file(folder / "samples.safetensors")["samples"]
    said = read_json(folder / "scores.json")
    return LayerScores(name, samples, said["unit"], {**said["facts"], "passes": said["passes"]})
