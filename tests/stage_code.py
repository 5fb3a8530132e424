"""The code behind each kind of stage, as a digest that comments, docstrings and blank lines do not change.

What stands here decides which change of the core asks for a new version: too much asks too often, too little is caught
by the test that every module of the core which computes belongs to a stage.
"""

from __future__ import annotations

import ast
import hashlib
import io
import tokenize
from pathlib import Path

ROOT = Path(__file__).parents[1]

LAYERS = ("lwa_core/modeling/layers", "lwa_core/modeling/kernels", "lwa_core/modeling/devices.py")
FILES = ("lwa_core/modeling/files", "lwa_core/modeling/libraries.py")
TRAINING = ("lwa_core/training",)
RANKS = ("lwa_core/modeling/kernels/target_ranks.py", "lwa_core/statistics/rank_metrics.py")
RANKING = ("lwa_core/recommendation/ranking.py", "lwa_core/recommendation/metrics.py", *RANKS)
RANKER = (
    "lwa_core/recommendation/loading.py",
    "lwa_core/recommendation/ranker.py",
    "lwa_core/recommendation/answering.py",
    "lwa_core/recommendation/requests.py",
    "lwa_core/recommendation/fitting.py",
    *RANKING,
)
PROBING = (
    *LAYERS,
    *RANKS,
    "lwa_core/modeling/probing",
    "lwa_core/pipeline/answers.py",
    "lwa_core/statistics/subsets.py",
)
ASKED_TEXTS = (
    "lwa_core/text/subject.py",
    "lwa_core/text/examples.py",
    "lwa_core/text/tokenizers.py",
    "lwa_core/text/loading.py",
)
RECOMMENDATION = "lwa_core/pipeline/recommendation_task.py"
TEXT = "lwa_core/pipeline/text_task.py"

CODE: dict[str, tuple[str, ...]] = {
    "data": (
        "lwa_core/data",
        f"{RECOMMENDATION}:RecommendationTask.data",
        f"{RECOMMENDATION}:RecommendationTask._prepare",
    ),
    "teacher": (
        *TRAINING,
        *RANKER,
        *FILES,
        *LAYERS,
        "lwa_core/pipeline/models.py",
        "lwa_core/recommendation/contract.py",
        f"{RECOMMENDATION}:RecommendationTask.teacher",
        f"{RECOMMENDATION}:RecommendationTask._fit",
        f"{RECOMMENDATION}:RankerModel",
    ),
    "students": (
        *TRAINING,
        *RANKER,
        *FILES,
        *LAYERS,
        "lwa_core/pipeline/models.py",
        "lwa_core/pipeline/stages/students.py",
        f"{RECOMMENDATION}:RecommendationTask.train",
        f"{RECOMMENDATION}:RecommendationTask.windows",
        f"{TEXT}:TextTask.train",
        f"{TEXT}:TextTask.windows",
    ),
    "control": (
        *TRAINING,
        *RANKER,
        *FILES,
        *LAYERS,
        "lwa_core/pipeline/models.py",
        "lwa_core/pipeline/stages/control.py",
        f"{RECOMMENDATION}:RecommendationTask.train",
        f"{TEXT}:TextTask.train",
    ),
    "scores": (
        *PROBING,
        "lwa_core/modeling/gradients",
        "lwa_core/modeling/posterior",
        "lwa_core/statistics/agreement.py",
        "lwa_core/statistics/means.py",
        "lwa_core/statistics/predictive.py",
        "lwa_core/statistics/semivalues.py",
        "lwa_core/statistics/stability.py",
        "lwa_core/pipeline/scoring.py",
        "lwa_core/pipeline/stages/scores.py",
        "lwa_core/pipeline/task.py",
        f"{RECOMMENDATION}:RecommendationTask.calibration",
        f"{TEXT}:TextTask._examples",
    ),
    "selection": (
        *PROBING,
        "lwa_core/measuring/layer_costs.py",
        "lwa_core/pipeline/stages/selection.py",
        "lwa_core/pipeline/task.py",
    ),
    "answers": (*PROBING, "lwa_core/pipeline/task.py"),
    "bundle": ("lwa_core/runtime", "lwa_core/pipeline/bundles.py", "lwa_core/pipeline/stages/exports.py"),
    "ranking": (
        *RANKER,
        *LAYERS,
        "lwa_core/runtime",
        f"{RECOMMENDATION}:RecommendationTask._rank",
        f"{RECOMMENDATION}:RecommendationTask._ranking",
        f"{RECOMMENDATION}:write_rankings",
    ),
    "baselines": (
        *RANKING,
        "lwa_core/recommendation/baselines.py",
        "lwa_core/recommendation/transitions.py",
        f"{RECOMMENDATION}:RecommendationTask._rank_baselines",
    ),
    "transitions": (
        "lwa_core/statistics/rank_metrics.py",
        "lwa_core/recommendation/transitions.py",
        "lwa_core/recommendation/transitions_tuning.py",
        f"{RECOMMENDATION}:RecommendationTask.transitions",
        f"{RECOMMENDATION}:RecommendationTask._tune_transitions",
    ),
    "optimality": (
        *PROBING,
        "lwa_core/statistics/estimate.py",
        "lwa_core/statistics/means.py",
        "lwa_core/statistics/regret.py",
        "lwa_core/statistics/simultaneous.py",
        "lwa_core/results/optimality.py",
        "lwa_core/pipeline/stages/optimality.py",
    ),
    "performance": ("lwa_core/measuring", "lwa_core/pipeline/stages/performance.py"),
    "configurations": (
        "lwa_core/measuring/answering.py",
        "lwa_core/measuring/configurations.py",
        "lwa_core/measuring/process_memory.py",
        "lwa_core/pipeline/stages/performance.py",
    ),
    "texts": (
        "lwa_core/text/reading.py",
        "lwa_core/text/parts.py",
        f"{TEXT}:TextTask.data",
        f"{TEXT}:TextTask._read",
    ),
    "text-teacher": (*ASKED_TEXTS, *FILES, "lwa_core/text/heads.py", f"{TEXT}:LiveText", f"{TEXT}:TextTask._load"),
    "text-quality": (
        *ASKED_TEXTS,
        *RANKS,
        "lwa_core/text/quality.py",
        f"{TEXT}:TextTask._measure",
        f"{TEXT}:_write_qualities",
    ),
    "text-baselines": (*ASKED_TEXTS, *RANKS, "lwa_core/text/baselines.py", f"{TEXT}:TextTask._measure_baselines"),
    "smoke-test": (
        "lwa_core/pipeline/smoke_test.py",
        "lwa_core/recommendation/contract.py",
        "lwa_core/data/excerpt.py",
    ),
    "bench": (
        *PROBING,
        "lwa_core/bench/cell.py",
        "lwa_core/bench/layer_calls.py",
        "lwa_core/bench/telling_apart.py",
        "lwa_core/modeling/gradients",
        "lwa_core/pipeline/scoring.py",
    ),
}
"""Kind -> folders, files, and definitions in files, that decide what its results are."""

FACES = (
    "lwa_core/__init__.py",
    "lwa_core/api.py",
    "lwa_core/errors.py",
    "lwa_core/json_text.py",
    "lwa_core/printable.py",
    "lwa_core/types.py",
    "lwa_core/bench",
    "lwa_core/cli",
    "lwa_core/pipeline",
    "lwa_core/plugins",
    "lwa_core/recipe",
    "lwa_core/recommendation/contract.py",
    "lwa_core/recommendation/sections.py",
    "lwa_core/recommendation/users.py",
    "lwa_core/report",
    "lwa_core/results",
    "lwa_core/settings",
    "lwa_core/statistics/bootstrap.py",
    "lwa_core/statistics/correlation.py",
    "lwa_core/statistics/perplexity.py",
    "lwa_core/statistics/learning_curve.py",
    "lwa_core/statistics/seeds.py",
    "lwa_core/store",
    "lwa_core/study",
    "lwa_core/testing",
    "lwa_core/text/sections.py",
)
"""What reads, checks, carries, shows: no result of a stage is computed there but for what `CODE` names of it."""


def files_of(place: str) -> list[Path]:
    """The Python files of a folder, or the file."""
    path = ROOT / place.partition(":")[0]
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def code_digest(kind: str) -> str:
    """Of all the code behind a kind of stage."""
    sha = hashlib.sha256()
    for place in sorted(set(CODE[kind])):
        for file in files_of(place):
            code = bare(definition(file, place.partition(":")[2]))
            sha.update(f"{file.relative_to(ROOT).as_posix()}\n{code}\n".encode())
    return sha.hexdigest()


def component_digest(module: str) -> str:
    """Of the code of a built-in component: its module, what it imports of its own package, and what these do."""
    sha = hashlib.sha256()
    for file in sorted(_closure(module)):
        sha.update(f"{file.relative_to(ROOT).as_posix()}\n{bare(file.read_text('utf-8'))}\n".encode())
    return sha.hexdigest()


def _closure(module: str) -> set[Path]:
    found: set[Path] = set()
    left = [module]
    while left:
        name = left.pop()
        base = ROOT / Path(*name.split("."))
        file = base.with_suffix(".py") if base.with_suffix(".py").is_file() else base / "__init__.py"
        if file in found or not file.is_file():
            continue
        found.add(file)
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lwa_plugins."):
                left += [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def definition(file: Path, name: str) -> str:
    """The text of a file, or of one function, class or method of it."""
    text = file.read_text("utf-8")
    if not name:
        return text
    nodes: list[ast.stmt] = ast.parse(text).body
    found: ast.stmt | None = None
    for part in name.split("."):
        found = next(node for node in nodes if getattr(node, "name", None) == part)
        nodes = getattr(found, "body", [])
    assert found is not None
    return "\n".join(text.splitlines()[found.lineno - 1 : found.end_lineno])


def bare(text: str) -> str:
    """Code without comments, docstrings, blank lines and trailing space; the same on every version of Python."""
    import textwrap

    text = textwrap.dedent(text)
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(text)):
        body = node.body if isinstance(node, holders) else []
        for statement in body:  # docstrings, and the strings that document attributes
            value = statement.value if isinstance(statement, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                for row in range(statement.lineno - 1, statement.end_lineno or statement.lineno):
                    lines[row] = ""
    return "\n".join(line.rstrip() for line in lines if line.strip())
