"""A reporter that remembers what it was told."""

from lwa_core.types import Quiet


class Heard(Quiet):
    """Keeps how far it was (done, total), warnings (code, message) and notes."""

    def __init__(self):
        self.steps, self.warnings, self.notes = [], [], []

    def progress(self, done, total, message=""):
        self.steps.append((done, total))

    def warn(self, code, message):
        self.warnings.append((code, message))

    def note(self, message):
        self.notes.append(message)
