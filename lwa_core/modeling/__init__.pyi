from .files.adapters import (
    merged as merged,
    with_adapters as with_adapters,
)
from .files.pretrained import (
    open_pretrained as open_pretrained,
    read_config as read_config,
)
from .files.sizes import (
    memory_bytes as memory_bytes,
    parameter_count as parameter_count,
)
from .gradients.parameter_gradients import EmbeddingByExample as EmbeddingByExample
from .kernels.cross_entropy import cross_entropy as cross_entropy
from .kernels.matmul import (
    fast_linear_maps as fast_linear_maps,
    product as product,
)
from .layers.attention import (
    Attention as Attention,
    attention_probabilities as attention_probabilities,
)
from .layers.blocks import (
    block_input as block_input,
    block_output as block_output,
    with_output as with_output,
)
from .layers.gap_maps import (
    Fit as Fit,
    Moments as Moments,
    fit as fit,
)
from .layers.folder_depth import depth_of_folder as depth_of_folder
from .layers.layered import (
    LayeredModel as LayeredModel,
    find_blocks as find_blocks,
)
from .layers.narrowing import (
    Units as Units,
    narrow as narrow,
    units_of as units_of,
)
from .layers.packed_weights import (
    assert_plain_weights as assert_plain_weights,
    layer_weights as layer_weights,
    packed_module as packed_module,
)
from .layers.row_codes import (
    CodedEmbedding as CodedEmbedding,
    CodedLinear as CodedLinear,
    coded as coded,
)
from .layers.state_maps import (
    StateMap as StateMap,
    maps_of as maps_of,
    put_map as put_map,
)
from .libraries import quiet_transformers as quiet_transformers
from .posterior.laplace import (
    FittedLaplace as FittedLaplace,
    fit_laplace as fit_laplace,
)
from .posterior.posterior_predictive import posterior_predictive as posterior_predictive
from .probing.batching import (
    batching_of as batching_of,
    chunked as chunked,
)
from .probing.observation import (
    OBSERVABLES as OBSERVABLES,
    observe as observe,
    passes as passes,
)
