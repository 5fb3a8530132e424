import re
from pathlib import Path

from lwa_core.results import warnings

PAGE = Path(__file__).parents[3] / "docs" / "evaluation.md"


def test_every_warning_is_documented():
    codes = set(re.findall(r'"([a-z]+(?:-[a-z]+)+)"', Path(warnings.__file__).read_text("utf-8")))

    assert 8 == len(codes)
    listed = re.findall(r"^\| (`.*?`) \|", PAGE.read_text("utf-8").partition("## Warnings")[2], re.MULTILINE)
    assert codes == set(re.findall(r"[a-z-]+", " ".join(listed)))
