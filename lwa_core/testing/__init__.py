"""For the tests of plugin authors: tiny real models, and checks that every scorer and every exporter must pass.

from lwa_core.testing import check_scorer
def test_my_scorer():
    check_scorer(MyScorer())
"""

from lwa_core.testing.conformance import check_exporter, check_scorer
from lwa_core.testing.tiny import tiny_board, tiny_probe, tiny_ranker, tiny_recommender

__all__ = ["check_exporter", "check_scorer", "tiny_board", "tiny_probe", "tiny_ranker", "tiny_recommender"]
