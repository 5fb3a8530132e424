"""`lwa bench`: scorers and selectors compared on many models, data sets and seeds."""
