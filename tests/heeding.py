"""Processes that heed every signal, whoever started the tests."""

import signal

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def heed_all():
    """To be called in a child before it begins: what the tests' parent ignores, as `nohup` does, it would inherit."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
