import re
from pathlib import Path

from lwa_core.results import convergence, warnings

OPTIMALITY = Path(__file__).parents[3] / "lwa_core" / "pipeline" / "stages" / "optimality.py"
PAGE = Path(__file__).parents[3] / "docs" / "evaluation.md"


def test_every_warning_is_documented():
    source = "".join(Path(module.__file__).read_text("utf-8") for module in (convergence, warnings))
    source += "".join(re.findall(r'report\.warn\(("[a-z-]+")', OPTIMALITY.read_text("utf-8")))
    codes = set(re.findall(r'"([a-z]+(?:-[a-z]+)+)"', source))

    assert 17 == len(codes)
    listed = re.findall(r"^\| (`.*?`) \|", PAGE.read_text("utf-8").partition("## Warnings")[2], re.MULTILINE)
    assert codes == set(re.findall(r"[a-z-]+", " ".join(listed)))
