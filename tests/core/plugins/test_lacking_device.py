"""What a recipe's `device` needs, found out without torch."""

import sys
from types import SimpleNamespace

import pytest

from lwa_core.plugins import requirements
from lwa_core.plugins.requirements import lacking_device


@pytest.fixture
def two_gpus(monkeypatch):
    cuda = SimpleNamespace(is_available=lambda: True, device_count=lambda: 2)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))


@pytest.mark.parametrize("name", ["auto", "cpu"])
def test_nothing_is_lacking_where_no_gpu_is_asked_for(name, monkeypatch):
    monkeypatch.setattr(requirements, "has_cuda", lambda: False)
    assert [] == lacking_device(name)


def test_without_a_gpu_every_one_is_lacking(monkeypatch):
    monkeypatch.setattr(requirements, "has_cuda", lambda: False)
    assert ["cuda"] == lacking_device("cuda")
    assert ["cuda:1"] == lacking_device("cuda:1")


@pytest.mark.parametrize(("name", "lacking"), [("cuda", []), ("cuda:1", []), ("cuda:2", ["cuda:2"])])
def test_gpus_are_counted(name, lacking, two_gpus):
    assert lacking == lacking_device(name)


@pytest.mark.parametrize(("visible", "lacking"), [("3,5", []), ("3", ["cuda:1"])])
def test_without_torch_those_that_are_visible_count(visible, lacking, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(requirements, "has_cuda", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert lacking == lacking_device("cuda:1")
