"""Processes that heed every signal, whoever started the tests."""

import signal

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]

HEED_ALL = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
"""
"""How a child begins: what the tests' parent ignores, as `nohup` does, it would inherit."""
