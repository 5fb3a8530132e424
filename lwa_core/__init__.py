"""lwa, the Layerwise Adapter: which layers of a transformer recommender do its users need?

The public names stand in `__init__.pyi`, and are resolved when first used: importing `lwa_core` imports no torch.
The core itself imports each name from where it is defined.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
