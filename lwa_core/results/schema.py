"""What `metrics.json` and `performance.json` hold, as values: every key is a field, and null is None.

A key that may be missing has a default. Mappings from names (of models, metrics, scorers) stay mappings, and so do the
facts that a component or data set states of itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import attrs

from lwa_core.statistics.estimate import finite_digits

if TYPE_CHECKING:
    from lwa_core.statistics.estimate import Estimate

FORMAT = 2
"""Of `metrics.json`: raised when a key changes its meaning or goes."""


@attrs.frozen
class Figure:
    """A measured quantity with its confidence interval.

    Args:
        mean: In the unit of the quantity; null where it is not finite.
        low: Lower end of the interval; null where there is none.
        high: Upper end.
        units: How many examples it is the mean of; null where that is not known.
    """

    mean: float | None
    low: float | None = None
    high: float | None = None
    units: int | None = None

    @classmethod
    def of(cls, found: Estimate, units: int | None = None) -> Figure:
        """An estimate over so many examples, with the digits that are told."""
        mean, low, high = (None if v is None else finite_digits(v) for v in (found.mean, found.low, found.high))
        return Figure(mean, low, high, units)


@attrs.frozen
class Difference(Figure):
    """A figure of paired differences, example by example, with its interval.

    Args:
        mean: In the unit of the quantity.
        low: Lower end of the interval; null where there are too few examples for one.
        high: Upper end.
        units: How many examples it is the mean of; null where that is not known.
        standard_error: Of the mean; null where the figure is not the mean of one value for each example.
    """

    standard_error: float | None = None


Figures = Mapping[str, Figure | None]
"""By metric; None: not defined for this model or these data."""


@attrs.frozen(kw_only=True)
class RecipeRead:
    """The recipe of a run.

    Args:
        name: What the run is called.
        sha256: Of every setting in effect.
        seed: From which every random choice follows.
    """

    name: str
    sha256: str
    seed: int


@attrs.frozen(kw_only=True)
class Step:
    """What a step of the preparation left.

    Args:
        name: Of the step.
        rows: Events.
        users: Different users.
        items: Different items.
    """

    name: str
    rows: int
    users: int
    items: int


@attrs.frozen(kw_only=True)
class Data:
    """What the figures were measured on. What a task does not have is null.

    Args:
        steps: The preparation, step by step.
        users: How many are left.
        items: Size of the catalogue.
        events: How many are left.
        texts: How many there are.
        test_items_sha256: Of the ordered test targets: figures with another one must not be compared.
        test_texts_sha256: The same of the test texts.
        facts: What else the data say of themselves; under `counts` the size of every part.
    """

    steps: tuple[Step, ...] = ()
    users: int | None = None
    items: int | None = None
    events: int | None = None
    texts: int | None = None
    test_items_sha256: str | None = None
    test_texts_sha256: str | None = None
    facts: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def test_sha256(self) -> str | None:
        """Of what was tested on, whatever the task."""
        return self.test_items_sha256 or self.test_texts_sha256

    @classmethod
    def of(cls, account: Mapping[str, Any]) -> Data:
        """The account that a task gives of its data; keys that are no fields here are facts."""
        names = {field.name for field in attrs.fields(cls)}
        own = {name: value for name, value in account.items() if name in names - {"steps", "facts"}}
        other = {name: value for name, value in account.items() if name not in names}
        steps = tuple(Step(**step) for step in account.get("steps", ()))
        return cls(steps=steps, facts={**other, **account.get("facts", {})}, **own)


@attrs.frozen(kw_only=True)
class CalibrationUsed:
    """What scorers and selectors looked at.

    Args:
        examples: How many there were at most.
        utility: What they asked for, higher is better: `loss` (minus the cross-entropy, nats), `kl`,
            `scaled-loss`, `ndcg`.
    """

    examples: int
    utility: str


@attrs.frozen(kw_only=True)
class AgainstControl:
    """A healed student beside the teacher that was trained for as long as it was healed.

    Args:
        name: What that model is called.
        difference: Each metric less the control's, paired.
        kept: Each over the control's, 1: the same.
    """

    name: str
    difference: Figures
    kept: Figures


@attrs.frozen(kw_only=True)
class ModelQuality:
    """How good a model is on the test examples.

    Args:
        metrics: Every metric of its own.
        difference: Each less the teacher's, paired; null for the teacher.
        kept: Each over the teacher's, 1: the same; null for the teacher.
        versus: By the name of another model the paired difference to it.
        control: Beside the teacher trained as much longer; null where that was not measured.
    """

    metrics: Figures
    difference: Figures | None = None
    kept: Figures | None = None
    versus: Mapping[str, Figures] = attrs.field(factory=dict)
    control: AgainstControl | None = None


@attrs.frozen(kw_only=True)
class Exported:
    """How a bundle stands to the model that it was made of.

    Args:
        of: That model's name.
        weights: Form of the layers' weights.
        table: Form of the item table.
        quantised: How many products are quantised.
        difference: Largest difference of two scores on made-up histories, relative to the largest score.
        top: Mean share of the model's best ten items that are among the bundle's, on the same.
        kept: Each metric over that model's on the test examples, 1: the same.
    """

    of: str
    weights: str
    table: str
    quantised: int
    difference: float
    top: float
    kept: Figures = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class ModelResult:
    """A model, or a baseline that has no layers.

    Args:
        name: Unique in the run.
        kind: The full model, what was made of it, the full model trained further, a bundle of one of them, or what
            needs no layers.
        step: Which compressor or exporter made it; null for the others.
        tier: The number of its tier, from 0; null for the others.
        layers: Which of the teacher's layers it has, rising; null for a baseline.
        depth: How many.
        parameters: How many.
        bytes_memory: Of its parameters and buffers.
        bytes_disk: Of its weights' files; of a bundle all files.
        metrics: Every metric of its own.
        difference: Each less the teacher's, paired; null for the teacher.
        kept: Each over the teacher's, 1: the same; null for the teacher.
        versus: By the name of another model the paired difference to it.
        healed: Whether it was trained after layers were removed.
        control: Beside the teacher trained as much longer; null where that was not measured.
        fitted: Of a baseline that has settings these, and how they were chosen; empty for all others.
        exported: Of a bundle how it was made; null for the others.
        loads: Where it was read back in this run and gave the answers that it gave before; empty for a baseline.
    """

    name: str
    kind: Literal["teacher", "student", "control", "export", "baseline"]
    step: str | None = None
    tier: int | None = None
    layers: tuple[int, ...] | None = None
    depth: int | None = None
    parameters: int | None = None
    bytes_memory: int | None = None
    bytes_disk: int | None = None
    metrics: Figures
    difference: Figures | None = None
    kept: Figures | None = None
    versus: Mapping[str, Figures] = attrs.field(factory=dict)
    healed: bool = False
    control: AgainstControl | None = None
    fitted: Mapping[str, Any] = attrs.field(factory=dict)
    exported: Exported | None = None
    loads: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class ColdStart:
    """Test targets that no training example holds.

    Args:
        examples: How many test examples have one.
        of: Out of how many.
        items: How many different ones.
        models: By model the metrics of these examples alone.
    """

    examples: int
    of: int
    items: int
    models: Mapping[str, Figures]


@attrs.frozen(kw_only=True)
class Bottom:
    """How probable it is for each layer to be among the lowest.

    Args:
        removed: So many lowest.
        resamples: Of the bootstrap over the samples.
        probability: Of each layer (layers,).
    """

    removed: int
    resamples: int
    probability: tuple[float, ...]


@attrs.frozen(kw_only=True)
class ScorerResult:
    """How much each layer matters according to one scorer; higher means: keep.

    Args:
        name: What the recipe calls it.
        component: What its plugin calls it.
        unit: Of the scores; empty where they have none.
        reference: The paper that defines it.
        combines: The scorers that it is made of; null where it is made of none.
        count: How many samples the scores average over.
        mean: Of each layer (layers,).
        standard_error: Of each mean (layers,); null for one sample.
        low: Lower ends of the intervals (layers,), null where there is none; null for too few samples.
        high: Upper ends (layers,).
        stability: Mean rank correlation between halves of the samples; null for fewer than four.
        bottom: For each number of removed layers; null for one sample.
        stability_curve: Pairs of a number of samples and the rank correlation of two disjoint sets of so many.
        facts: What the scorer states besides.
    """

    name: str
    component: str
    unit: str
    reference: str | None = None
    combines: tuple[str, ...] | None = None
    count: int
    mean: tuple[float, ...]
    standard_error: tuple[float, ...] | None = None
    low: tuple[float | None, ...] | None = None
    high: tuple[float | None, ...] | None = None
    stability: float | None = None
    bottom: tuple[Bottom, ...] | None = None
    stability_curve: tuple[tuple[int, float], ...] = ()
    facts: Mapping[str, Any] = attrs.field(factory=dict)

    def figure(self, layer: int) -> Figure:
        """The score of one layer."""
        low, high = (None if ends is None else ends[layer] for ends in (self.low, self.high))
        return Figure(self.mean[layer], low, high)


@attrs.frozen(kw_only=True)
class ConcordanceResult:
    """Kendall's W of several scorers.

    Args:
        names: Which ones.
        w: 0 to 1, 1: the same order.
        p: One-sided permutation p-value.
        permutations: Behind it.
        exact: Whether these are all there are.
    """

    names: tuple[str, ...]
    w: float
    p: float
    permutations: int
    exact: bool


@attrs.frozen(kw_only=True)
class OverlapResult:
    """How many of the k highest layers every two scorers share.

    Args:
        k: So many highest.
        chance: What two random orders share on average.
        shared: (scorers, scorers).
        p: Hypergeometric p-value of as many or more (scorers, scorers); null on the diagonal.
    """

    k: int
    chance: float
    shared: tuple[tuple[int, ...], ...]
    p: tuple[tuple[float | None, ...], ...]


@attrs.frozen(kw_only=True)
class Agreement:
    """How far the scorers agree on the order of the layers; combined scores are left out.

    Args:
        names: The scorers, in the order of rows and columns.
        kendall: Kendall's tau-b (scorers, scorers).
        kendall_p: Its two-sided permutation p-value (scorers, scorers); null on the diagonal.
        permutations: Behind it.
        exact: Whether these are all there are.
        concordance: Kendall's W; null where fewer than two scorers look at the model.
        overlap: For each number of kept layers, falling.
    """

    names: tuple[str, ...]
    kendall: tuple[tuple[float, ...], ...]
    kendall_p: tuple[tuple[float | None, ...], ...] | None = None
    permutations: int | None = None
    exact: bool | None = None
    concordance: ConcordanceResult | None = None
    overlap: tuple[OverlapResult, ...] = ()


@attrs.frozen(kw_only=True)
class PlanResult:
    """Which layers stay.

    Args:
        selector: The component that chose them.
        depth: Layers of the full model.
        tiers: The kept layers of each tier, rising, the first is 0.
        trace: The selector's own account of how it chose.
    """

    selector: str
    depth: int
    tiers: tuple[tuple[int, ...], ...]
    trace: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class DepthComparison:
    """All sets of as many layers, their utility less the full model's.

    Args:
        layers: So many.
        kept: The best set on these examples, rising.
        best: Its utility, which is flattered.
        oracle: The best set of one half of the examples on the other; its interval is that of the truly best set.
        oracle_choices: How many different sets the halves choose.
        random: A random set, in exact expectation.
    """

    layers: int
    kept: tuple[int, ...]
    best: Difference
    oracle: Difference
    oracle_choices: int
    random: Difference


@attrs.frozen(kw_only=True)
class TierComparison:
    """A tier beside all sets of as many layers.

    Args:
        layers: So many.
        kept: Which ones, rising.
        difference: Its utility less the full model's.
        regret: How much higher the utility of the best set of its size is, at least 0.
        gain: Its utility less a random set's.
        rank: Among the sets of its size, 1: the best on these examples.
        subsets: How many there are.
        oracle_choices: How many different sets the halves choose.
    """

    layers: int
    kept: tuple[int, ...]
    difference: Difference
    regret: Difference
    gain: Figure
    rank: int
    subsets: int
    oracle_choices: int


@attrs.frozen(kw_only=True)
class Optimality:
    """The chosen layers beside every subset of the layers.

    Args:
        on: Which examples.
        utility: What was measured, higher is better: `loss` (minus the cross-entropy, nats), `kl`,
            `scaled-loss`, `ndcg`.
        examples: How many.
        splits: Random halvings behind the oracle.
        full: Mean utility of the full model.
        depths: By rising number of layers, the full model last.
        tiers: In the order of the plan.
        mean_regret: Over the tiers; null for one tier, or two of the same depth.
    """

    on: str
    utility: str
    examples: int
    splits: int
    full: float
    depths: tuple[DepthComparison, ...]
    tiers: tuple[TierComparison, ...]
    mean_regret: Difference | None = None


@attrs.frozen(kw_only=True)
class SetResult:
    """The teacher with nothing but some of its layers, untrained, on the test examples.

    Args:
        how: How they were found: `chosen`, `evenly spaced` or `random`.
        layers: Of the teacher.
        figure: The headline metric; null where it is not defined.
        kept: Over the teacher's, 1: the same.
        ahead: What the chosen set is ahead by in the headline metric, paired: above 0 it is the better one, whichever
            way the metric goes; null for the chosen set.
    """

    how: str
    layers: tuple[int, ...]
    figure: Figure | None = None
    kept: Figure | None = None
    ahead: Figure | None = None


@attrs.frozen(kw_only=True)
class Choice:
    """The chosen layers beside sets of their size that nobody looked for, all as cut.

    Args:
        tier: Number of the tier.
        chosen: The layers that were chosen.
        others: Evenly spaced layers, and random ones.
    """

    tier: int
    chosen: SetResult
    others: tuple[SetResult, ...]


@attrs.frozen(kw_only=True)
class Training:
    """How a model was trained.

    Args:
        name: Of the model.
        history: For each epoch `epoch`, `loss` and the metric that stops training.
        best_epoch: Whose weights were kept.
        windows: How many training windows an epoch had; null where they were not counted. How they were cut from the
            users' sequences is a setting of the recommender, under `asked`.
        targets: How many targets these windows had together, each counted in the loss once an epoch; where targets are
            drawn (masked items), in one drawing.
        share: By what its part of the scores was multiplied after training, chosen on validation, where it adds to the
            scores of a table of transitions; null where it adds to none.
    """

    name: str
    history: tuple[Mapping[str, float], ...]
    best_epoch: int
    windows: int | None = None
    targets: int | None = None
    share: float | None = None


@attrs.frozen
class Caution:
    """What a reader must know before believing the figures.

    Args:
        code: The same for the same kind of caution.
        message: In words.
        stage: Whose result it is about; null where it is about the figures.
    """

    code: str
    message: str
    stage: str | None = None


@attrs.frozen(kw_only=True)
class Metrics:
    """`metrics.json`: all that a repeated run finds out again, to the last byte.

    Args:
        format: Of this file.
        lwa: The version that wrote it.
        recipe: Which recipe.
        task: `recommendation` or `text`.
        asked: Every setting in effect, by table, with the components and who provides them.
        data: What was measured on.
        calibration: What scorers and selectors looked at.
        headline: The metric of sentences and charts.
        lower_is_better: The metrics of which less is more.
        trivial: The metrics that any model would reach, or that no example tells apart, and why.
        models: The teacher, then the students and what they are held against, then the baselines.
        cold_start: Null where every test target occurs in training.
        scores: By scorer; empty where nothing was scored.
        agreement: Null where nothing was scored.
        plan: Null where no layers were chosen.
        optimality: Null where not every subset was measured.
        choices: For each tier that leaves layers out what its choice is worth on test examples; empty where that was
            not measured.
        training: Of every model that was trained in this run.
        warnings: Of the stages, then about the figures.
    """

    format: int
    lwa: str
    recipe: RecipeRead
    task: str = "recommendation"
    asked: Mapping[str, Any]
    data: Data
    calibration: CalibrationUsed
    headline: str
    lower_is_better: tuple[str, ...] = ()
    trivial: Mapping[str, str] = attrs.field(factory=dict)
    models: tuple[ModelResult, ...]
    cold_start: ColdStart | None = None
    scores: tuple[ScorerResult, ...] = ()
    agreement: Agreement | None = None
    plan: PlanResult | None = None
    optimality: Optimality | None = None
    choices: tuple[Choice, ...] = ()
    training: tuple[Training, ...] = ()
    warnings: tuple[Caution, ...] = ()


@attrs.frozen(kw_only=True)
class Throughput:
    """Requests in a second, in large batches.

    Args:
        median: Of the rounds.
        slowest: Round.
        fastest: Round.
    """

    median: float
    slowest: float
    fastest: float


@attrs.frozen(kw_only=True)
class ModelLatency:
    """How long a model takes for one request, in milliseconds.

    Args:
        p50: Median over the requests.
        p95: 95th percentile.
        p99: 99th percentile.
        cpu: Median of the processor's time, all threads together.
        network: Median of the network alone, on the same requests made ready.
        added: What a whole answer takes beyond the network, with a 95 % interval.
        ratio: To the first model's time, with a 95 % interval over blocks of requests; null for the first. Models of
            one architecture share it.
        cpu_ratio: The same of the processor's time.
        twins: The other models of the same architecture.
        throughput: Null where it was not measured.
    """

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    cpu: float | None = None
    network: float | None = None
    added: Figure | None = None
    ratio: Figure | None = None
    cpu_ratio: Figure | None = None
    twins: tuple[str, ...] = ()
    throughput: Throughput | None = None


@attrs.frozen(kw_only=True)
class Latency:
    """How latency was measured, and of which models.

    Args:
        first: The model that the others are compared with.
        requests: Timed requests of each model.
        warm_up: Requests before them.
        batch: Requests in a large batch.
        rounds: Large batches.
        distinct_histories: How many different requests there were.
        threads: That torch used.
        device: `cpu`, or the GPU.
        load_before: Of the machine over the minute before: how many processes wanted a processor; null where unknown.
        load_after: The same at the end.
        processors: That this process could use.
        cpu_share: Processor time over wall time of all single requests.
        unreliable: What speaks against believing any of it, in words.
        models: By name.
    """

    first: str
    requests: int
    warm_up: int
    batch: int
    rounds: int
    distinct_histories: int
    threads: int
    device: str
    load_before: float | None = None
    load_after: float | None = None
    processors: int | None = None
    cpu_share: float | None = None
    unreliable: tuple[str, ...] = ()
    models: Mapping[str, ModelLatency]


@attrs.frozen(kw_only=True)
class Memory:
    """Bytes of a fresh process that loads a model and answers requests.

    Args:
        before: Resident once the libraries are imported; null where the system does not tell.
        peak: Highest resident from then on.
        model: Parameters and buffers; null for a bundle, which has none.
        gpu_peak: Highest allocated on the GPU; null without one.
    """

    before: int | None = None
    peak: int
    model: int | None = None
    gpu_peak: int | None = None


@attrs.frozen(kw_only=True)
class Configuration:
    """What fresh processes take that open a model or bundle and answer requests one at a time.

    Args:
        memory: Highest resident memory of any of them, libraries included, in bytes.
        p50: Median time of a request after the first, in milliseconds.
        p95: 95th percentile, with a 95 % interval that holds that of each process too.
        cold_start: Seconds from the start of a process to the end of its first answer: median, least and most.
        disk: Of all files of the model, in bytes.
        threads: That a process could use.
        starts: How many processes there were.
        requests: That each answered.
        load: Highest load of the machine over a minute, before or after: how many processes wanted a processor; null
            where the system does not tell.
        processors: That this process could use.
    """

    memory: int
    p50: float
    p95: Figure
    cold_start: Figure
    disk: int
    threads: int
    starts: int
    requests: int
    load: float | None = None
    processors: int | None = None


@attrs.frozen(kw_only=True)
class StageTime:
    """How long a stage took.

    Args:
        stage: Its name.
        seconds: Of making it, or of reading it.
        reused: Whether the store had it.
    """

    stage: str
    seconds: float
    reused: bool


@attrs.frozen(kw_only=True)
class Performance:
    """`performance.json`: what belongs to this machine and this execution.

    Args:
        machine: Processor, threads, versions.
        latency: Null where no requests were timed.
        memory: By model; of those that were measured.
        configurations: By number of threads and model: what was measured for profiles of devices.
        stages: In their order.
    """

    machine: Mapping[str, Any] | None = None
    latency: Latency | None = None
    memory: Mapping[str, Memory] = attrs.field(factory=dict)
    configurations: Mapping[str, Mapping[str, Configuration]] = attrs.field(factory=dict)
    stages: tuple[StageTime, ...] = ()
