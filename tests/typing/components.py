"""Checked by mypy, never run: the built-ins are what the protocols say."""

from lwa_core import (
    Adapting,
    CombiningScorer,
    Component,
    Compressor,
    Dataset,
    Exportable,
    FastTail,
    Finishing,
    HasUnit,
    NamesScorers,
    ObservingScorer,
    QueryingScorer,
    ReadsFiles,
    Recommender,
    Scorer,
    Selector,
    UsesTimes,
    UsesTransitions,
    hookimpl,
)
from lwa_plugins.compressors.distill import Distill
from lwa_plugins.compressors.drop import Drop
from lwa_plugins.compressors.fine_tune import FineTune
from lwa_plugins.compressors.qlora import QLoRA
from lwa_plugins.datasets.atomic import Atomic
from lwa_plugins.datasets.movielens import MovieLens
from lwa_plugins.datasets.reviews import Reviews
from lwa_plugins.datasets.sequences import Sequences
from lwa_plugins.datasets.synthetic import Synthetic
from lwa_plugins.datasets.table import Table
from lwa_plugins.recommenders.backbone import Backbone
from lwa_plugins.recommenders.sequential import Sequential
from lwa_plugins.recommenders.text import Text
from lwa_plugins.recommenders.transitions import TransitionTableRecommender
from lwa_plugins.scorers.block_influence import BlockInfluence
from lwa_plugins.scorers.borda import Borda
from lwa_plugins.scorers.fisher import Fisher
from lwa_plugins.scorers.leave_one_out import LeaveOneOut
from lwa_plugins.scorers.random import Random
from lwa_plugins.scorers.robust_rank_aggregation import RobustRankAggregation
from lwa_plugins.scorers.shapley import Shapley
from lwa_plugins.scorers.weight_magnitude import WeightMagnitude
from lwa_plugins.selectors.beam import Beam
from lwa_plugins.selectors.budget import Budget
from lwa_plugins.selectors.contiguous import Contiguous
from lwa_plugins.selectors.evolution import Evolution
from lwa_plugins.selectors.exact import Exact
from lwa_plugins.selectors.gate_qubo import GateQubo
from lwa_plugins.selectors.greedy import Greedy
from lwa_plugins.selectors.random import Random as RandomSelector
from lwa_plugins.selectors.top_k import TopK
from lwa_plugins.selectors.uniform import Uniform

datasets: list[type[Dataset]] = [Synthetic, MovieLens, Sequences, Atomic, Reviews, Table]
recommenders: list[type[Recommender]] = [Backbone, Sequential, Text, TransitionTableRecommender]
adapting: list[type[Adapting]] = [Backbone, Text]
with_a_table: list[type[UsesTransitions]] = [Sequential, TransitionTableRecommender]
reading: list[type[ReadsFiles]] = [Sequential]
timed: list[type[UsesTimes]] = [Sequential]
fast: list[type[FastTail]] = [Sequential]
exportable: list[type[Exportable]] = [Backbone, Sequential, Text, TransitionTableRecommender]
finishing: list[type[Finishing]] = [Fisher]
with_a_unit: list[type[HasUnit]] = [Fisher, LeaveOneOut]
naming: list[type[NamesScorers]] = [Borda, RobustRankAggregation]
observing: list[type[ObservingScorer]] = [Fisher, BlockInfluence]
querying: list[type[QueryingScorer]] = [LeaveOneOut, Shapley, WeightMagnitude, Random]
combining: list[type[CombiningScorer]] = [Borda, RobustRankAggregation]
selectors: list[type[Selector]] = [TopK, Uniform, RandomSelector, Budget, Greedy, Beam, Exact]
more_selectors: list[type[Selector]] = [GateQubo, Evolution, Contiguous]
compressors: list[type[Compressor]] = [Drop, Distill, FineTune, QLoRA]


@hookimpl
def lwa_scorers() -> list[Component[Scorer]]:
    return [Component("mine", Shapley), Component("lazy", "package.module:Class")]
