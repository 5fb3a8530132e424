"""Language models and text classifiers as subjects."""
