from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from lwa_core.plugins import requirements as needs


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine without torch in memory, with or without a device, and with some build of torch installed."""

    def built(device: bool, torch: str | None = "2.9.0", visible: str | None = None) -> None:
        monkeypatch.delitem(sys.modules, "torch", raising=False)
        monkeypatch.setattr(needs, "NVIDIA", (str(tmp_path if device else tmp_path / "gone"),))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

        def version(name: str) -> str:
            if torch is None:
                raise needs.PackageNotFoundError(name)
            return torch

        monkeypatch.setattr(needs, "version", version)

    return built


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"device": True}, True),
        ({"device": True, "visible": "0"}, True),
        ({"device": False}, False),
        ({"device": True, "visible": ""}, False),
        ({"device": True, "visible": "-1"}, False),
        ({"device": True, "torch": "2.9.0+cpu"}, False),
        ({"device": True, "torch": None}, False),
    ],
)
def test_cuda_is_found_without_torch(machine, facts, expected):
    machine(**facts)
    assert expected == needs.has_cuda()
    assert "torch" not in sys.modules


@pytest.mark.parametrize("answer", [True, False])
def test_torch_is_asked_where_it_is_imported_already(monkeypatch, answer):
    torch = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: answer))
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert answer == needs.has_cuda()


def test_an_extra_of_a_distribution_that_is_not_installed():
    assert ["extra:x"] == needs.lacking_of({"extra:x"}, "no-such-distribution-anywhere")
    assert ["extra:x"] == needs.lacking_of({"extra:x"}, None)
