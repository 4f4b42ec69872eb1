"""``python -m cluster``: the same program as ``./run``."""

import signal

if __name__ == "__main__":
    # Ctrl-C ends a command at once and without a traceback; `up` has more to do and says so itself.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    from cluster.cli import main  # after that

    main(prog_name="tortie")
