"""Made-up runs: what `lwa run` writes, small and by hand, and the same as values."""

import copy
import json

from lwa_core.results.as_json import from_json
from lwa_core.results.reading import Results
from lwa_core.results.schema import Metrics, Performance

DEPTH = 8
TIERS = [[0, 2, 5, 7], [0, 7]]


def figure(mean, half=None):
    if half is None:
        return {"mean": mean, "low": None, "high": None}
    return {"mean": mean, "low": round(mean - half, 6), "high": round(mean + half, 6)}


def model(name, kind, ndcg, *, step=None, tier=None, size=None):
    layers = None if size is None else list(range(DEPTH)) if tier is None else TIERS[tier]
    teacher = kind == "teacher"
    return {
        "name": name,
        "kind": kind,
        "step": step,
        "tier": tier,
        "layers": layers,
        "depth": None if layers is None else len(layers),
        "parameters": None if size is None else size // 4,
        "bytes_disk": size,
        "bytes_memory": size,
        "metrics": {
            "ndcg@5": figure(ndcg * 0.8, 0.006),
            "ndcg@10": figure(ndcg, 0.006),
            "recall@10": figure(ndcg * 1.9, 0.01),
            "mrr": figure(ndcg * 0.9, 0.005),
            "coverage@10": figure(0.31),
            "diversity@10": None,
        },
        "difference": None if teacher else {"ndcg@10": figure(round(ndcg - 0.1, 6), 0.004)},
        "kept": None if teacher else {"ndcg@10": figure(ndcg / 0.1, 0.04)},
        "versus": {},
    }


def models():
    made = [
        model("teacher", "teacher", 0.1, size=2_400_000),
        model("drop-4", "student", 0.071, step="drop", tier=0, size=1_500_000),
        model("distill-4", "student", 0.0975, step="distill", tier=0, size=1_500_000),
        model("qlora-4", "student", 0.0962, step="qlora", tier=0, size=700_000),
        model("drop-2", "student", 0.042, step="drop", tier=1, size=1_000_000),
        model("distill-2", "student", 0.091, step="distill", tier=1, size=1_000_000),
        model("popularity", "baseline", 0.045),
        model("bigram", "baseline", 0.061),
        model("item-knn", "baseline", 0.083),
    ]
    for one in made:
        for other in made:
            if one is not other:
                difference = one["metrics"]["ndcg@10"]["mean"] - other["metrics"]["ndcg@10"]["mean"]
                one["versus"][other["name"]] = {"ndcg@10": figure(round(difference, 6), 0.005)}
    return made


def scores(name, component, mean, *, half=None, stability=None, unit="nats", combines=None):
    return {
        "name": name,
        "component": component,
        "unit": unit,
        "reference": None if name == "random" else "Somebody & Somebody 2024, Layers",
        "combines": combines,
        "count": 1 if half is None else len(combines) if combines else 1024,
        "mean": mean,
        "standard_error": None if half is None else [half / 1.96] * len(mean),
        "low": None if half is None else [value - half for value in mean],
        "high": None if half is None else [value + half for value in mean],
        "stability": stability,
        "bottom": None if half is None else [chances(mean, DEPTH - len(tier)) for tier in reversed(TIERS)],
        "stability_curve": [
            [n, round(stability * (n + 40) / (n + 80), 3)] for n in (8, 16, 32, 64, 128, 256, 512) if stability
        ],
    }


def chances(mean, removed):
    lowest = sorted(mean)[:removed]
    probability = [0.97 if value in lowest else round(0.03 * removed / (DEPTH - removed), 4) for value in mean]
    return {"removed": removed, "resamples": 1000, "probability": probability}


NAMES = ["fisher", "leave-one-out", "weight-magnitude", "random"]


def symmetric(diagonal, *rows):
    """A table (scorers, scorers) from its lower triangle."""
    size = len(rows) + 1
    below = {(i, j): value for i, row in enumerate(rows, start=1) for j, value in enumerate(row)}
    return [[diagonal if i == j else below[max(i, j), min(i, j)] for j in range(size)] for i in range(size)]


METRICS = {
    "format": 2,
    "lwa": "0.1.0",
    "recipe": {"name": "ml-tiny", "sha256": "a" * 64, "seed": 7},
    "asked": {
        "name": "ml-tiny",
        "seed": 7,
        "data": {"use": "atomic", "path": "data/tiny"},
        "recommender": {"use": "sequential", "layers": DEPTH, "width": 64},
        "score": [{"use": "fisher", "name": "fisher"}, {"use": "leave-one-out", "name": "leave-one-out"}],
        "select": {"use": "greedy", "keep": [4, 2]},
        "compress": [{"use": "drop", "name": "drop"}, {"use": "distill", "name": "distill"}],
        "evaluate": {"k": [5, 10], "filter_seen": True, "bootstrap": 2000, "confidence": 0.95},
    },
    "data": {
        "steps": [
            {"name": "read", "rows": 100000, "users": 943, "items": 1682},
            {"name": "k-core", "rows": 99287, "users": 943, "items": 1349},
        ],
        "users": 943,
        "items": 1349,
        "events": 99287,
        "test_items_sha256": "b" * 64,
        "facts": {
            "split": {"by": "leave-one-out", "seed": 7},
            "counts": {"test": 943, "training_events": 97401},
            "repeated_test_targets": 0,
            "notes": ["ratings are not used"],
        },
    },
    "calibration": {"examples": 1024, "utility": "loss"},
    "task": "recommendation",
    "headline": "ndcg@10",
    "lower_is_better": [],
    "models": models(),
    "scores": [
        scores("fisher", "fisher", [9.1, 3.2, 4.4, 2.2, 2.9, 5.1, 1.8, 6.0], half=0.6, stability=0.93),
        scores(
            "leave-one-out", "leave-one-out", [0.8, 0.02, 0.1, -0.01, 0.01, 0.12, 0.0, 0.4], half=0.05, stability=0.61
        ),
        scores("weight-magnitude", "weight-magnitude", [5.0, 4.9, 4.7, 4.6, 4.8, 5.2, 5.4, 5.5], unit=""),
        scores("random", "random", [0.3, 0.9, 0.1, 0.5, 0.7, 0.2, 0.4, 0.8], unit=""),
        scores(
            "borda",
            "borda",
            [5.67, 2.67, 3.0, 0.33, 2.0, 5.0, 2.67, 6.67],
            half=3.1,
            unit="rank points",
            combines=NAMES[:3],
        ),
    ],
    "agreement": {
        "names": NAMES,
        "kendall": symmetric(1.0, [0.71], [0.14, 0.0], [-0.21, -0.3, 0.07]),
        "kendall_p": symmetric(None, [0.0141], [0.7195, 1.0], [0.5484, 0.3991, 0.9049]),
        "permutations": 40320,
        "exact": True,
        "concordance": {"names": NAMES[:3], "w": 0.62, "p": 0.0409, "permutations": 9999, "exact": False},
        "overlap": [
            {
                "k": 4,
                "chance": 2.0,
                "shared": symmetric(4, [4], [3, 3], [1, 1, 2]),
                "p": symmetric(None, [0.0143], [0.2429, 0.2429], [0.9857, 0.9857, 0.7571]),
            },
            {
                "k": 2,
                "chance": 0.5,
                "shared": symmetric(2, [2], [1, 1], [0, 0, 1]),
                "p": symmetric(None, [0.0357], [0.4643, 0.4643], [1.0, 1.0, 0.4643]),
            },
        ],
    },
    "plan": {
        "selector": "greedy",
        "depth": DEPTH,
        "tiers": TIERS,
        "trace": {"removed": [6, 3, 4, 1, 2, 5], "utility": [-5.1, -5.11, -5.13, -5.2, -5.3, -5.6]},
    },
    "training": [
        {
            "name": "teacher",
            "best_epoch": 9,
            "history": [
                {
                    "epoch": epoch,
                    "loss": 7.2 - 0.3 * epoch + 0.01 * epoch**2,
                    "ndcg@10": 0.11 - 0.001 * (epoch - 9) ** 2,
                }
                for epoch in range(1, 13)
            ],
        },
        {
            "name": "distill-4",
            "best_epoch": 3,
            "history": [{"epoch": e, "loss": 2.0 / e, "ndcg@10": n} for e, n in ((1, 0.08), (2, 0.093), (3, 0.097))],
        },
    ],
    "warnings": [{"code": "rows-dropped", "message": "left out: 3 rows without a user", "stage": "data"}],
}


def controlled(told, gain=0.01, half=0.004, share=0.93):
    """The same with a teacher that was trained for as long as `distill` healed, better than the teacher by `gain`."""
    headline = told["headline"]
    longer = {**copy.deepcopy(told["models"][0]), "name": "teacher+distill", "kind": "control"}
    longer["metrics"][headline]["mean"] += gain
    longer["versus"] = {"teacher": {headline: figure(gain, half)}}
    for student in told["models"]:
        student["healed"] = student["step"] in ("distill", "qlora", "fine-tune")
        if student["step"] in ("distill", "fine-tune"):
            against = {"difference": {headline: figure(-0.007, 0.004)}, "kept": {headline: figure(share, 0.04)}}
            student["control"] = {"name": "teacher+distill", **against}
    told["models"].append(longer)
    return told


def text_model(name, kind, perplexity, accuracy, **how):
    made = model(name, kind, 0.1, **how)
    teacher = kind == "teacher"
    metrics = {"perplexity": figure(perplexity, 0.8), "accuracy": figure(accuracy, 0.02)}
    difference = {"perplexity": figure(round(perplexity - 20.0, 6), 0.5), "accuracy": figure(accuracy - 0.5, 0.01)}
    kept = {"perplexity": figure(perplexity / 20, 0.025), "accuracy": figure(accuracy / 0.5, 0.02)}
    return {
        **made,
        "metrics": metrics,
        "difference": None if teacher else difference,
        "kept": None if teacher else kept,
        "versus": {} if teacher else {"teacher": {"perplexity": figure(round(perplexity - 20.0, 6), 0.5)}},
    }


def text_metrics(headline="perplexity", whole=True):
    """A run of the task `text`: with scores, plan and students, or just the teacher."""
    told = metrics()
    told |= {"task": "text", "headline": headline, "lower_is_better": ["perplexity"], "training": []}
    told["recipe"]["name"] = told["asked"]["name"] = "tiny-lm"
    told["data"] = {
        "texts": 2000,
        "test_texts_sha256": "c" * 64,
        "facts": {"file": "texts.jsonl", "counts": {"train": 1000, "test": 400}},
    }
    told["models"] = [text_model("teacher", "teacher", 20.0, 0.5, size=2_400_000)]
    told["warnings"] = []
    asked = {key: told["asked"][key] for key in ("name", "seed", "score", "select", "compress")}
    evaluate = {"bootstrap": 2000, "confidence": 0.95, "k": [1, 10]}
    told["asked"] = {
        **asked,
        "texts": {"path": "texts.jsonl", "length": 128},
        "model": {"path": "tiny", "ask": "causal"},
    }
    told["asked"]["evaluate"] = evaluate
    if not whole:
        del told["asked"]["select"]
        told["asked"]["score"] = told["asked"]["compress"] = []
        return {**told, "scores": [], "agreement": None, "plan": None, "optimality": None}
    told["models"] += [
        text_model("drop-4", "student", 31.0, 0.41, step="drop", tier=0, size=1_500_000),
        text_model("fine-tune-4", "student", 20.3, 0.495, step="fine-tune", tier=0, size=1_500_000),
        text_model("drop-2", "student", 19.0, 0.52, step="drop", tier=1, size=1_000_000),
        {**text_model("unigram", "baseline", 300.0, 0.1), "kept": None},
        {**text_model("bigram", "baseline", 25.0, 0.45), "kept": None},
    ]
    told["models"][0]["versus"] = {
        name: {"perplexity": figure(round(20.0 - other, 6), 0.5), "accuracy": figure(0.05, 0.01)}
        for name, other in (("unigram", 300.0), ("bigram", 25.0))
    }
    for student in told["models"][1:4]:
        own = student["metrics"]["perplexity"]["mean"]
        for name, other in (("unigram", 300.0), ("bigram", 25.0)):
            student["versus"][name] = {"perplexity": figure(round(own - other, 6), 0.5)}
    return told


def timed(p50, ratio=None):
    return {
        "p50": p50,
        "p95": p50 * 1.3,
        "p99": p50 * 1.7,
        "cpu": p50 * 0.98,
        "network": p50 * 0.6,
        "added": figure(round(p50 * 0.4, 6), 0.01),
        "ratio": ratio and figure(ratio, 0.02),
        "cpu_ratio": ratio and figure(ratio, 0.01),
        "throughput": {"median": 4000 / p50, "slowest": 3500 / p50, "fastest": 4100 / p50},
    }


PERFORMANCE = {
    "machine": {
        "cpu": "Some CPU @ 2.5 GHz",
        "cores": 2,
        "threads": 1,
        "python": "3.11.7",
        "versions": {"torch": "2.8.0"},
    },
    "latency": {
        "first": "teacher",
        "requests": 300,
        "warm_up": 10,
        "batch": 256,
        "rounds": 5,
        "distinct_histories": 300,
        "threads": 1,
        "device": "cpu",
        "load_before": 0.3,
        "load_after": 1.1,
        "processors": 2,
        "cpu_share": 0.98,
        "models": {
            "teacher": timed(4.0),
            "drop-4": timed(2.2, 0.55),
            "distill-4": timed(2.19, 0.5475),
            "qlora-4": timed(3.1, 0.775),
            "drop-2": timed(1.3, 0.325),
            "distill-2": timed(1.31, 0.3275),
        },
    },
    "memory": {
        name: {"before": 400_000_000, "peak": 400_000_000 + int(above), "model": 2_400_000, "gpu_peak": None}
        for name, above in (
            ("teacher", 31e6),
            ("drop-4", 27e6),
            ("distill-4", 27.2e6),
            ("qlora-4", 44e6),
            ("drop-2", 24e6),
        )
    },
    "stages": [
        {"stage": "data", "seconds": 0.4, "reused": True},
        {"stage": "teacher", "seconds": 75.2, "reused": False},
    ],
}


def metrics():
    return copy.deepcopy(METRICS)


def performance():
    return copy.deepcopy(PERFORMANCE)


def results(told=None, measured=None):
    """The values that these JSON objects stand for."""
    performance = None if measured is None else from_json(measured, Performance)
    return Results(from_json(METRICS if told is None else told, Metrics), performance)


def write_run(folder, told=None, measured=None):
    (folder / "metrics.json").write_text(json.dumps(told or METRICS), "utf-8")
    if measured is not None:
        (folder / "performance.json").write_text(json.dumps(measured), "utf-8")
    return folder
