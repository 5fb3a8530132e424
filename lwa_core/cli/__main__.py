"""`python -m lwa_core.cli`: the command `lwa`, as torchrun starts it."""

import os
import sys

# `python -m` looks for modules in the current folder first, and a torch.py or numpy/ that lies there is not meant.
if sys.path[:1] in ([""], [os.getcwd()]):
    del sys.path[0]

from lwa_core.cli import main

if __name__ == "__main__":
    main()
