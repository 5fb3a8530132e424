"""python table.py OUT.jsonl: one row for each family, and how many there are of each kind."""

import json
import sys
from collections import Counter
from pathlib import Path


def verdict(row):
    if row["status"] != "scored":
        return row["status"], row.get("why", "")
    parts = row["scorers"]
    odd = {name: part for name, part in parts.items() if part["is"] != "right"}
    if not odd:
        return "right", ""
    words = [part["is"] for part in odd.values()]
    worst = next(word for word in ("WRONG", "crash", "refused") if word in words)
    some = f"{worst} ({', '.join(odd)})" if len(odd) < len(parts) else worst
    return some, next(part.get("why") or f"off by {part['off']:.2g}" for part in odd.values())


def main():
    rows = {
        (row["task"], row["kind"]): row
        for line in Path(sys.argv[1]).read_text().splitlines()
        for row in [json.loads(line)]
    }
    counts = Counter()
    print("| task | model type | scores | batches | prefixes | why |\n| --- | --- | --- | --- | --- | --- |")
    for (task, kind), row in rows.items():
        word, why = verdict(row)
        counts[task, word.split(" (")[0]] += 1
        together = {"ANY": "", "EQUAL_LENGTHS": "equal lengths", "ALONE": "alone"}.get(row.get("batching"), "")
        replays = "whole passes" if row.get("replays") is False else ""
        print(
            f"| {task} | {kind} | {word} | {together} | {replays} | {' '.join(why.split())[:160].replace('|', '¦')} |"
        )
    print()
    for (task, word), count in sorted(counts.items()):
        print(f"{task}: {count} {word}", file=sys.stderr)


if __name__ == "__main__":
    main()
