"""The device of this process: chosen for a run, found where a model is first put there."""

import pytest
import torch

from lwa_core.errors import NeedsError
from lwa_core.modeling.devices import device, use_device


def test_left_alone_it_is_a_gpu_where_there_is_one():
    assert ("cuda" if torch.cuda.is_available() else "cpu") == device().type


def test_what_a_run_chooses_holds_inside_it_alone():
    before = device()
    with use_device("cpu"):
        assert torch.device("cpu") == device()
    assert before == device()


def test_auto_inside_another_choice_is_auto():
    with use_device("cpu"), use_device("auto"):
        assert ("cuda" if torch.cuda.is_available() else "cpu") == device().type


@pytest.mark.parametrize("own", [None, 900])
def test_a_gpu_that_is_not_there_is_said_where_a_model_is_put_there(own):
    with (
        use_device("cuda" if own else "cuda:900", own),
        pytest.raises(NeedsError, match="this machine lacks GPU 900: it has "),
    ):
        device()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_plain_cuda_is_the_current_gpu():
    with use_device("cuda"):
        assert torch.device("cuda", torch.cuda.current_device()) == device()
