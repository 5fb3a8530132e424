"""What things are called in sentences, by the task of a run."""

from __future__ import annotations

import attrs

CONTROL = "the teacher trained as much longer"
"""What a healed student is held against, where that was measured."""

UNCONTROLLED = f"not compared with {CONTROL}"
"""What is said beside the share of a healed student where it was not."""


@attrs.frozen(kw_only=True)
class Words:
    """The words of a task.

    Args:
        question: What a run answers.
        examples: What is tested on, many of them; intervals say how far others of them could move a figure.
        request: What a model is asked when it is timed, one of it.
        requests: Many of them.
        quality: The heading of the figures.
        answer: What a model predicts, one of it.
        predicted: The same as it is spoken of beforehand.
        right: The one that would have been right.
        rank: What a better model does, as in "is shown to rank better".
        identity: Of what the hash of the test part is.
        others: What results with another hash are of.
        measured: On what.
    """

    question: str
    examples: str
    request: str
    requests: str
    quality: str
    answer: str
    predicted: str
    right: str
    rank: str
    identity: str
    others: str
    measured: str


RECOMMENDATION = Words(
    question="which layers do its users need?",
    examples="users",
    request="history",
    requests="histories",
    quality="Ranking quality",
    answer="item",
    predicted="next item",
    right="the item that followed",
    rank="rank",
    identity="test items",
    others="users or targets",
    measured="on test users only, over the full catalogue",
)

TEXT = Words(
    question="which layers are needed?",
    examples="texts",
    request="text",
    requests="texts",
    quality="Quality",
    answer="answer",
    predicted="answer",
    right="the right answer",
    rank="be",
    identity="test texts",
    others="texts",
    measured="on test texts only",
)


def words_of(task: str) -> Words:
    """The words of a task."""
    return {"recommendation": RECOMMENDATION, "text": TEXT}[task]
