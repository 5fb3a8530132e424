"""What all tests share."""

import hypothesis

# A first example that imports scipy, or a busy machine, must not fail a test: no test is timed.
hypothesis.settings.register_profile("lwa", deadline=None)
hypothesis.settings.load_profile("lwa")
