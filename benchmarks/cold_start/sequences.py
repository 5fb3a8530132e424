"""One line a user, `user item item …`, out of rows that hold a history and its next item: a user's longest row."""

from __future__ import annotations

import argparse
import ast
import csv
import json
from pathlib import Path


def longest(files: list[Path]) -> dict[str, list[str]]:
    """User -> history and next item of the row with the longest history, the last one of equal length."""
    found: dict[str, list[str]] = {}
    for file in files:
        with file.open(encoding="utf-8", newline="") as opened:
            for row in csv.DictReader(opened):
                events = [str(item) for item in [*ast.literal_eval(row["history_item_id"]), row["item_id"]]]
                if len(events) >= len(found.get(row["user_id"], ())):
                    found[row["user_id"]] = events
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "data", type=Path, help="folder with valid.csv, test.csv and Industrial_and_Scientific.item.json"
    )
    parser.add_argument("out", type=Path, help="folder for sequences.txt and titles.json")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    users = longest([asked.data / "valid.csv", asked.data / "test.csv"])
    lines = [f"{user} {' '.join(events)}\n" for user, events in sorted(users.items())]
    (asked.out / "sequences.txt").write_text("".join(lines), encoding="utf-8")
    items = json.loads((asked.data / "Industrial_and_Scientific.item.json").read_text("utf-8"))
    titles = {item: {"title": described["title"]} for item, described in items.items()}
    (asked.out / "titles.json").write_text(json.dumps(titles), encoding="utf-8")


if __name__ == "__main__":
    main()
