from .agreement import (
    borda_points as borda_points,
    robust_rank_aggregation as robust_rank_aggregation,
    spearman as spearman,
)
from .estimate import ten_digits as ten_digits
from .predictive import (
    Decomposition as Decomposition,
    decompose as decompose,
    decomposition_summary as decomposition_summary,
)
from .semivalues import (
    interactions as interactions,
    marginal_weights as marginal_weights,
    shapley_weights as shapley_weights,
)
from .stability import until_settled as until_settled
from .subsets import every_subset as every_subset
