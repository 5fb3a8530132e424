"""One training loop for all."""

import lwa_core.modeling.libraries  # noqa: F401 -- before transformers is imported
