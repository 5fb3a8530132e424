"""The table of claims is the one that the results make, and every claim has its word."""

import importlib.util
import os
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
SPEC = importlib.util.spec_from_file_location("make_claims", DOCS / "make_claims.py")
CLAIMS = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(CLAIMS)


def test_the_page_says_what_the_results_say():
    made = CLAIMS.page()
    if os.environ.get("LWA_UPDATE_SNAPSHOTS"):
        CLAIMS.PAGE.write_text(made, encoding="utf-8")
    assert CLAIMS.PAGE.read_text("utf-8") == made


def test_every_claim_has_a_word_and_what_was_measured():
    words = {CLAIMS.REPRODUCED, CLAIMS.NOT, CLAIMS.CANNOT, CLAIMS.OPEN}
    for claim, measure, _ in CLAIMS.CLAIMS:
        word, said = measure()
        assert word in words
        assert said or word == CLAIMS.OPEN, claim


def test_files_of_studies_are_those_of_shipped_ones():
    for file in (DOCS.parent / "benchmarks" / "studies" / "results").glob("*.json"):
        assert (DOCS.parent / "studies" / f"{file.stem.partition('.')[0]}.toml").is_file()
