"""``python -m cluster``: the same program as ``./run``."""

import signal

if __name__ == "__main__":
    # Ctrl-C ends a command at once and without a traceback; `up` has more to do and says so itself.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    import os  # after that
    import sys

    # Who closed a standard stream wants silence. Left closed, the next socket would get its number, and be written to.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.open(os.devnull, os.O_RDWR), mode))  # noqa: SIM115  # for as long as it runs

    from cluster.cli import main

    main(prog_name="tortie")
