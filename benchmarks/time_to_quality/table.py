"""All curves in results/ as one Markdown table, a row for each library and its settings."""

import json
from pathlib import Path

from measure import summary

HERE = Path(__file__).parent


def number(value, digits=1):
    return "not reached" if value is None else f"{value:.{digits}f}"


if __name__ == "__main__":
    curves = {}
    for file in sorted((HERE / "results").glob("*.json")):
        for who, found in json.loads(file.read_text())["results"].items():
            asked = {key: value for key, value in found["settings"].items() if key != "seconds"}
            by_seed = curves.setdefault((who, json.dumps(asked)), {})
            by_seed.update(zip(found["seeds"], found["curves"], strict=True))
    print(
        "| who | layers | batch, rate | seeds | CPU-s to 0.09 on test | each seed | best on validation: test, CPU-s |"
    )
    print("|---|---|---|---|---|---|---|")
    for (who, asked), by_seed in curves.items():
        settings, found = json.loads(asked), summary(list(by_seed.values()), 0.09)
        each = ", ".join(number(row and row["training_s"]) for row in found["reached"])
        kept = [found[f"median_{what}_at_best_validation"] for what in ("test", "training_s")]
        best = f"{number(kept[0], 4)}, {number(kept[1])}"
        how = f"{settings['layers']} | {settings['batch']}, {settings['learning_rate']}"
        print(f"| {who} | {how} | {len(by_seed)} | {number(found['median_training_s'])} | {each} | {best} |")
