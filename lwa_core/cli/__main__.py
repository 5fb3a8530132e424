"""`python -m lwa_core.cli`: the command `lwa`, as torchrun starts it."""

from lwa_core.cli import main

if __name__ == "__main__":
    main()
