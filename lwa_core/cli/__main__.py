"""`python -m lwa_core.cli`: the command `lwa`, as torchrun starts it."""

import os
import sys

# `python -m` looks for modules in the current folder first, and a torch.py or numpy/ that lies there is not meant.
sys.path[:] = [folder for folder in sys.path if folder not in ("", os.getcwd())]

from lwa_core.cli import main  # noqa: E402 -- once strange files are out of reach

if __name__ == "__main__":
    main()
