import re
from pathlib import Path

from lwa_core.results import warnings

PAGE = Path(__file__).parents[3] / "docs" / "evaluation.md"


def test_every_warning_is_documented():
    codes = set(re.findall(r'_warning\(\s*"([a-z-]+)"', Path(warnings.__file__).read_text("utf-8")))

    assert 7 == len(codes)
    assert codes == set(
        re.findall(r"^\| `([a-z-]+)` \|", PAGE.read_text("utf-8").partition("## Warnings")[2], re.MULTILINE)
    )
