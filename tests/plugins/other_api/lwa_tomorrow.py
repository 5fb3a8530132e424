"""Made for another API version: never to be imported."""

raise AssertionError("imported")
