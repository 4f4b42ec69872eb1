"""``python -m cluster``: the same program as ``./run``."""

from cluster.cli import main

if __name__ == "__main__":
    main(prog_name="tortie")
