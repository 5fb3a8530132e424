"""What is known of texts without any layer: the hardest of the simple answers, fitted to the training texts alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch

from lwa_core.text.examples import target_of, tokens
from lwa_core.text.parts import TextData, answer_of
from lwa_core.text.quality import Arrays, TextQuality, ranks_in
from lwa_core.text.reading import Text
from lwa_core.text.subject import TextModel


def baselines(asked: TextModel, data: TextData, length: int) -> dict[str, TextQuality]:
    """The baselines that fit what a model is asked for, by name; none where there is no training text."""
    if asked.task == "encode":
        return {"tf-idf": TextQuality(tf_idf(data))}
    if not data["train"]:
        return {}
    if asked.task == "classify":
        return {"majority": TextQuality(majority(asked, data))}
    return {"unigram": TextQuality(unigram(asked, data, length))} if asked.task == "causal" else {}


def unigram(asked: TextModel, data: TextData, length: int) -> Arrays:
    """Each token by its share of the training tokens, with one more of every token of the vocabulary."""
    counts = np.ones(asked.vocabulary)
    for text in data["train"]:
        np.add.at(counts, tokens(asked, text, length, data.file)[0], 1)
    surprise = -np.log(counts / counts.sum())

    def of(texts: Sequence[Text]) -> Arrays:
        ids = [tokens(asked, text, length, data.file)[0][1:] for text in texts]
        return {
            "nll": np.array([surprise[each].sum() for each in ids]),
            "count": np.array([len(each) for each in ids], dtype=np.int64),
        }

    other = {f"other_{name}": values for name, values in of(data.other).items()} if data.other else {}
    return {**of(data["test"]), **other}


def majority(asked: TextModel, data: TextData) -> Arrays:
    """The class that most training texts have."""
    counts = Counter(target_of(asked, text, data.file, None) for text in data["train"])
    most = max(counts, key=lambda label: (counts[label], -label))
    targets = [target_of(asked, text, data.file, None) for text in data["test"]]
    return {"correct": np.array([float(target == most) for target in targets])}


def tf_idf(data: TextData) -> Arrays:
    """Cosines of TF-IDF vectors of words, weighted by how rare they are in the training texts and the index."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    vectorizer.fit([*data.corpus, *(text.text for text in data["train"])])
    texts = data["test"]
    queries = vectorizer.transform([text.text for text in texts])
    places = data.places()
    scores = torch.from_numpy((queries @ vectorizer.transform(data.corpus).T).toarray())
    ranks = ranks_in(scores, torch.tensor([places[answer_of(text)] for text in texts]))
    scored = [text for text in texts if text.score is not None]
    if not scored:
        return {**ranks, **{f"own_{name}": values for name, values in ranks.items()}}
    second = vectorizer.transform([text.pair or "" for text in scored])
    cosine = np.asarray(queries[: len(scored)].multiply(second).sum(axis=1)).ravel()
    return {**ranks, "cosine": cosine, "gold": np.array([text.score for text in scored], dtype=np.float64)}
