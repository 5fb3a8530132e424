"""Any settings of the table of transitions."""

from hypothesis import strategies as st

from lwa_core.recommendation.transitions import Counting, TransitionSettings

knobs = st.builds(
    TransitionSettings,
    counting=st.builds(
        Counting,
        window=st.integers(1, 9),
        fade=st.floats(0.1, 1.0),
        power=st.floats(0.0, 2.0),
        reverse=st.sampled_from([0.0, 0.3, 1.0]),
    ),
    evidence=st.floats(0.0, 1.0),
    correction=st.floats(0.0, 1.0),
    scale=st.one_of(st.none(), st.floats(1e-3, 1.0)),
    history=st.integers(1, 10),
    decay=st.floats(0.1, 1.0),
    features=st.sampled_from([0.0, 0.5, 2.0]),
    features_decay=st.floats(0.1, 1.0),
    popularity=st.floats(0.0, 2.0),
)
