from .api import (
    export_bundle as export_bundle,
    fit as fit,
    load as load,
    load_text as load_text,
)
from .data import (
    Catalogue as Catalogue,
    Examples as Examples,
    PreparedData as PreparedData,
    Source as Source,
    TimedHistory as TimedHistory,
    UsesTimes as UsesTimes,
)
from .errors import (
    DataError as DataError,
    LwaError as LwaError,
    ModelError as ModelError,
    NeedsError as NeedsError,
    PluginError as PluginError,
    Problem as Problem,
    RecipeError as RecipeError,
    StageError as StageError,
    StoreError as StoreError,
)
from .json_text import (
    BadJsonError as BadJsonError,
    is_utf_16 as is_utf_16,
    parse_json as parse_json,
    utf_8_fault as utf_8_fault,
)
from .modeling.devices import device as device
from .modeling.files.saving import (
    load_pretrained as load_pretrained,
    load_weights as load_weights,
    save_weights as save_weights,
)
from .modeling.layers.layered import LayeredModel as LayeredModel
from .modeling.probing.observation import Observation as Observation
from .modeling.probing.probe import Probe as Probe
from .modeling.probing.subject import (
    FastTail as FastTail,
    NamesBlocks as NamesBlocks,
    Subject as Subject,
)
from .plugins.hooks import (
    Component as Component,
    hookimpl as hookimpl,
)
from .plugins.options import TrainingOptions as TrainingOptions
from .plugins.protocols import (
    Adapting as Adapting,
    Baseline as Baseline,
    CombiningScorer as CombiningScorer,
    CompressionJob as CompressionJob,
    Compressor as Compressor,
    Dataset as Dataset,
    DrawsLabels as DrawsLabels,
    Exportable as Exportable,
    ExportedParts as ExportedParts,
    Exporter as Exporter,
    Finishing as Finishing,
    FittedTransitions as FittedTransitions,
    HasUnit as HasUnit,
    Keeps as Keeps,
    NamesScorers as NamesScorers,
    ObservingScorer as ObservingScorer,
    Persistent as Persistent,
    QueryingScorer as QueryingScorer,
    Ranks as Ranks,
    ReadsFiles as ReadsFiles,
    Recommender as Recommender,
    Restoring as Restoring,
    Scorer as Scorer,
    Selection as Selection,
    Selector as Selector,
    StatesDepth as StatesDepth,
    Trainable as Trainable,
    TrainableSubject as TrainableSubject,
    TransitionArrays as TransitionArrays,
    UsesTransitions as UsesTransitions,
)
from .runtime.served import (
    Served as Served,
    open_bundle as open_bundle,
)
from .settings.declare import (
    redefined as redefined,
    setting as setting,
)
from .study.table import read_study as read_study
from .types import (
    Batch as Batch,
    DepthPlan as DepthPlan,
    Event as Event,
    History as History,
    LayerCosts as LayerCosts,
    LayerScores as LayerScores,
    Losses as Losses,
    Quiet as Quiet,
    Recommendations as Recommendations,
    Reporter as Reporter,
    RunContext as RunContext,
    ScoreBoard as ScoreBoard,
    Trace as Trace,
    TrainingSettings as TrainingSettings,
)
