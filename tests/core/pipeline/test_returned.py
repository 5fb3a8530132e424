"""What plugins return is looked at where it comes back, whatever their kind, and the error names the plugin."""

import attrs
import numpy as np
import polars as pl
import pytest
import torch

from lwa_core import DepthPlan, PluginError, Source
from lwa_core.plugins.methods import check_methods
from lwa_core.plugins.returned import checked_facts, checked_plan, checked_source, checked_table, keep_of
from lwa_core.plugins.returned_models import checked_network, checked_student
from lwa_core.recommendation.contract import check_recommender_model
from lwa_core.testing import tiny_probe, tiny_recommender

WHO = "kind 'x' of plugin p of dist 1.2"


def refused(said):
    return pytest.raises(PluginError, match=f"^{WHO}.*{said}")


# Tables


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ([[1.0] * 3], "gave list"),
        (np.ones((2, 3)), "gave ndarray"),
        (torch.ones(3), r"shape \(3,\) instead of \(samples, 3\)"),
        (torch.ones(3, 2), r"shape \(3, 2\)"),
        (torch.ones(0, 3), r"shape \(0, 3\)"),
        (torch.tensor([[1.0, torch.nan, 2.0]]), "not finite"),
        (torch.tensor([[1.0, torch.inf, 2.0]]), "not finite"),
        (torch.ones(2, 3, dtype=torch.complex64), "complex64"),
        (torch.ones(2, 3, dtype=torch.bool), "bool"),
    ],
)
def test_a_table(table, said):
    with refused(said):
        checked_table(WHO, table, 3)
    assert checked_table(WHO, torch.ones(2, 3, requires_grad=True), 3).tolist() == [[1.0] * 3] * 2


@pytest.mark.parametrize("value", [{1, 2}, np.float32(1), float("nan"), object(), [b"x"]])
def test_what_json_cannot_hold(value):
    with refused("told what JSON cannot hold"):
        checked_facts(WHO, {"it": value})


# Plans


@pytest.mark.parametrize(
    ("plan", "keep", "said"),
    [
        ((0, 1), 2, "gave tuple, not a DepthPlan"),
        (None, 2, "gave NoneType"),
        (DepthPlan(6, [range(2)]), 2, "a plan for 6 layers of a model with 4"),
        (DepthPlan(4, [[]]), None, "keeps no layer"),
        (DepthPlan(4, [range(4)]), 2, "asked to keep 2 layers and keeps 4"),
        (DepthPlan(4, [range(2), range(1)]), (2, 3), "asked to keep 2, 3 layers and keeps 2, 1"),
        (DepthPlan(4, [range(2)]), (2, 2), "asked to keep 2, 2 layers and keeps 2"),
        (DepthPlan(4, [range(2)], {"order": {1}}), 2, "JSON cannot hold"),
    ],
)
def test_a_plan(plan, keep, said):
    with refused(said):
        checked_plan(WHO, plan, 4, keep)


def test_a_plan_that_keeps_what_was_asked_for():
    plan = DepthPlan(4, [(0, 3), (1,)])

    assert plan is checked_plan(WHO, plan, 4, (2, 1)) is checked_plan(WHO, plan, 4, None)


def test_which_setting_says_how_many_layers_stay():
    made = [
        attrs.make_class("S", {"keep": attrs.field(default=value)})() for value in (3, (2, 1), None, "all", True, ())
    ]

    assert [3, (2, 1), None, None, None, None] == [keep_of(each) for each in made]
    assert keep_of(object()) is None


# Sources

EVENTS = pl.LazyFrame({"user": [1, 1, 2], "item": [1, 2, 1]})


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"user": [1]}, "gave dict from `read`"),
        (Source(EVENTS.collect()), "events as DataFrame"),
        (Source(EVENTS, order="time"), "the order 'time'"),
        (Source(EVENTS, order=None), "the order None"),
        (Source(EVENTS, items=EVENTS), "items as LazyFrame"),
        (Source(EVENTS, items=pl.DataFrame({"id": ["1"]})), "without a column `item`"),
        (Source(EVENTS, items=pl.DataFrame({"item": [1]})), "column `item` is Int64"),
        (Source(EVENTS, items=pl.DataFrame({"item": ["1"], "title": [3]})), "column `title` is Int64"),
        (Source(EVENTS, items=pl.DataFrame({"item": ["1"], "categories": ["a"]})), "column `categories` is String"),
        (Source(EVENTS, dropped={"rule": -1}), "`dropped`"),
        (Source(EVENTS, dropped={"rule": 0.5}), "`dropped`"),
        (Source(EVENTS, dropped=[1]), "`dropped`"),
        (Source(EVENTS, notes="one"), "notes"),
        (Source(EVENTS, notes=(1,)), "notes"),
    ],
)
def test_a_source(source, said):
    with refused(said):
        checked_source(WHO, source)


def test_a_source_as_it_should_be():
    items = pl.DataFrame({"item": ["1"], "title": [None], "categories": [["a"]]})
    source = Source(EVENTS, items=items, order="file", dropped={"rows without a user": 3}, notes=("made up",))

    assert source is checked_source(WHO, source)


# Students


@pytest.fixture
def teacher():
    return tiny_probe().model


def test_a_student_with_the_planned_layers(teacher):
    student = teacher.keep([0, 3])
    with torch.no_grad():
        for parameter in student.model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))

    assert student.model is checked_student(WHO, student.model, teacher, (0, 3))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda teacher: None, "gave NoneType, not a model"),
        (lambda teacher: teacher.keep([0, 3]), "gave LayeredModel, not a model"),
        (lambda teacher: teacher.model, r"4 layers, where 2 were planned \(layers 0, 3\)"),
        (lambda teacher: teacher.keep([0]).model, "1 layers, where 2 were planned"),
        (lambda teacher: teacher.keep([0, 1]).model, "layer 1 is the teacher's layer 1, not layer 3"),
        (lambda teacher: torch.nn.Linear(2, 2), "layers cannot be found"),
    ],
)
def test_a_student_with_others(teacher, make, said):
    with refused(said):
        checked_student(WHO, make(teacher), teacher, (0, 3))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_model_whose_numbers_are_not_finite(teacher, value):
    with torch.no_grad():
        teacher.layers[1].attention_norm.weight[3] = value

    with refused("`blocks.1.attention_norm.weight` holds numbers that are not finite"):
        checked_network(WHO, teacher.model)


# Recommenders


class Wrong:
    """A recommender with one method that does something else."""

    def __init__(self, name, change):
        self.inner, self.name, self.change = tiny_recommender(), name, change

    def __getattr__(self, name):
        method = getattr(self.inner, name)
        if name != self.name:
            return method
        return lambda *args: self.change(method, *args)


def counting(method, model, batch):
    weight = next(model.parameters())
    weight.grad = torch.zeros_like(weight)
    return method(model, batch)


def knowing(method, model, batch):
    states, targets = method(model, batch)
    return states + targets[:, None].to(states), targets


def telling(method, histories, targets=None):
    batch = method(histories, targets)
    if targets is not None:
        batch["input_ids"][:, -1] = torch.from_numpy(targets) + 1
    return batch


WRONG = {
    "scores of the batch's mean": ("scores", lambda m, *a: m(*a) - m(*a).mean(0), "depend on the others of its batch"),
    "random scores": ("scores", lambda m, *a: torch.rand_like(m(*a)), "are others when they are asked for again"),
    "fewer scores": ("scores", lambda m, *a: m(*a)[:, 1:], r"gave \(4, 29\), not \(4, 30\)"),
    "no numbers": ("scores", lambda m, *a: m(*a) * torch.nan, "not finite"),
    "scores turned round": ("scores", lambda m, *a: -m(*a), "ranks items otherwise than `head`"),
    "scores as an array": ("scores", lambda m, *a: m(*a).numpy(), "gave ndarray, not a tensor"),
    "states that know the target": ("encode", knowing, "states that know the target"),
    "batches that tell the target": ("example_batch", telling, "know the target"),
    "other targets": ("encode", lambda m, *a: (m(*a)[0], m(*a)[1] + 1), "gave other targets"),
    "states alone": ("encode", lambda m, *a: m(*a)[0], r"not \(states, targets\)"),
    "a loss alone": ("loss", lambda m, *a: m(*a).overall, "gave Tensor, not Losses"),
    "a changed model": ("scores", counting, "changed the gradient of the weight"),
    "no dict": ("example_batch", lambda m, *a: list(m(*a).values()), "gave no dict of tensors"),
    "logits of the batch": ("head", lambda m, *a: m(*a) - m(*a).mean(0), "depend on the others of its batch"),
}


def asked(recommender):
    probe = tiny_probe()
    check_recommender_model(WHO, recommender, probe.model.model, probe.histories, 30, seed=0)


@pytest.mark.parametrize(("name", "change", "said"), WRONG.values(), ids=WRONG)
def test_a_recommender(name, change, said):
    with refused(said):
        asked(Wrong(name, change))


@pytest.mark.parametrize("settings", [{}, {"block": "gated"}, {"objective": "masked"}, {"training_loss": "sampled"}])
def test_a_recommender_as_it_should_be(settings):
    recommender = tiny_recommender(**settings)
    probe = tiny_probe(recommender)

    check_recommender_model(WHO, recommender, probe.model.model, probe.histories, 30, seed=0)


# Methods


@pytest.mark.parametrize(
    ("kind", "methods", "said"),
    [
        ("scorer", {}, "and this has none"),
        ("scorer", {"score": lambda self: None}, "does not take the 1 arguments"),
        ("scorer", {"score": lambda self, p: None, "combine": lambda self, b: None}, "both `score` and `combine`"),
        ("scorer", {"observe": lambda self, seen: None}, "says by `observes`"),
        ("selector", {"choose": lambda self, s: None}, "a selector has a method `select`"),
        ("compressor", {"compress": lambda self, job, more: None}, "does not take the 1 arguments"),
        ("dataset", {"read": lambda self: None}, "a dataset has a method `files`"),
    ],
)
def test_a_class_that_lacks_what_its_kind_has(kind, methods, said):
    with pytest.raises(TypeError, match=said):
        check_methods(kind, type("Made", (), methods))
