"""A tiny model of any model type that transformers knows, from scratch: sizes by the names of configuration keys."""

import copy
import inspect

import torch
import transformers
from transformers.models.auto import configuration_auto, modeling_auto

DEPTH, WIDTH, HEADS, HEAD, WORDS, INNER = 6, 32, 4, 8, 120, 48
MOST_PARAMETERS = 30_000_000

TASKS = {
    "causal": ("AutoModelForCausalLM", modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES),
    "masked": ("AutoModelForMaskedLM", modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES),
    "classify": ("AutoModelForSequenceClassification", modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES),
}
"""What is asked -> the class that builds and loads, and the model types that it knows."""

ALIKE = {
    WORDS: "vocab_size vocab_size_per_layer_input text_vocab_size",
    WIDTH: """hidden_size d_model n_embd dim embed_dim emb_dim word_embed_proj_dim model_dim embedding_size
        entity_emb_size input_embedding_size output_embedding_size decoder_hidden_size lru_width attention_hidden_size
        cross_attention_hidden_size hidden_size_per_layer out_hidden_size kv_dim rnn_hidden""",
    INNER: """hidden_dim intermediate_size ffn_dim d_ff n_inner d_inner encoder_ffn_dim decoder_ffn_dim ffn_hidden_size
        intermediate_size_mlp dense_intermediate_size dff dim_ff""",
    16: """moe_intermediate_size expert_ffn_hidden_size shared_expert_intermediate_size ffn_expert_hidden_size
        moe_shared_expert_intermediate_size shared_intermediate_size expert_hidden_size projection_dim codebook_dim
        image_size index_topk""",
    HEADS: """num_attention_heads n_head n_heads num_heads encoder_attention_heads decoder_attention_heads
        attention_heads num_encoder_attention_heads num_decoder_attention_heads sa_num_heads n_attention_heads
        qk_rope_head_dim qk_nope_head_dim rotary_dim num_experts num_local_experts n_routed_experts moe_num_experts
        sliding_window attention_window_size attention_chunk_size window_size local_attention sliding_window_size
        mamba_chunk_size mamba_dt_rank time_step_rank chunk_size linear_num_value_heads linear_num_heads patch_size
        hidden_size_per_layer_input laurel_rank num_conv_pos_embeddings block_size mm_tokens_per_image max_expert
        decoder_layers num_decoder_layers decoder_num_hidden_layers mask_token_id""",
    2: """num_key_value_heads num_global_key_value_heads n_head_kv num_kv_heads multi_query_group_num index_n_heads
        num_experts_per_tok moe_topk moe_k top_k_experts num_experts_per_token first_k_dense_replace num_dense_layers
        moe_layer_start_index n_mamba_heads linear_num_key_heads altup_num_inputs type_vocab_size
        num_conv_pos_embedding_groups temporal_patch_size spatial_merge_size num_codebooks eos_token_id sep_token_id
        decoder_start_token_id""",
    HEAD: """head_dim d_kv d_head global_head_dim attention_head_dim dim_head kv_channels swa_head_dim index_head_dim
        v_head_dim qk_head_dim q_lora_rank kv_lora_rank o_lora_rank query_pre_attn_scalar mamba_n_heads mamba_d_head
        mamba_num_heads mamba_head_dim mamba_d_state state_size ssm_state_size linear_key_head_dim
        linear_value_head_dim linear_head_dim num_mel_bins num_buckets relative_attention_num_buckets feature_size""",
    DEPTH: """num_hidden_layers n_layer n_layers num_layers encoder_layers depth layers num_encoder_layers
        encoder_num_hidden_layers num_blocks""",
    64: """max_position_embeddings n_positions n_ctx max_sequence_length max_seq_len seq_length max_source_positions
        max_target_positions max_encoder_position_embeddings max_decoder_position_embeddings mamba_d_ssm""",
    1: """n_shared_experts moe_num_shared_experts n_group topk_group zero_expert_num num_shared_experts
        mamba_n_groups n_groups mamba_ngroups input_channels num_random_blocks num_hashes num_feature_levels
        bos_token_id cls_token_id attn_layer_offset""",
    3: "num_labels unk_token_id in_channels num_channels attn_layer_period",
    0: "pad_token_id hash_seed",
    20: "entity_vocab_size codebook_size max_length",
    -1: "vision_feature_layer",
    None: "forced_eos_token_id suppress_tokens begin_suppress_tokens",
}
KEYS = {key: value for value, keys in ALIKE.items() for key in keys.split()} | {
    "attention_type": "original_full",
    "scale_embedding": False,
}

WINDOWS = ["sliding_attention", "full_attention"] * 3
CONVOLUTIONS = ["conv", "full_attention", "conv", "conv", "full_attention", "conv"]
SPECIAL = {
    "bert-generation": {"vocab_size": WORDS},
    "mpt": {"expansion_ratio": 2},
    "reformer": {
        **{"attn_layers": ["local", "lsh"] * 3, "axial_pos_shape": (8, 8), "axial_pos_embds_dim": (16, 16)},
        **{"num_buckets": 4, "local_attn_chunk_length": 8, "lsh_attn_chunk_length": 8, "feed_forward_size": INNER},
        **{"is_decoder": True, "attention_head_size": 8},
    },
    "funnel": {"block_sizes": [2, 2, 2], "num_decoder_layers": 1, "attention_type": "relative_shift"},
    "gpt_neo": {"attention_types": [[["global", "local"], 3]]},
    "longformer": {"attention_window": [8] * DEPTH},
    "led": {"attention_window": [8] * DEPTH},
    "bamba": {"attn_layer_indices": [1, 4]},
    "zamba2": {
        **{"layers_block_type": ["mamba", "hybrid", "mamba", "mamba", "hybrid", "mamba"], "use_mem_rope": True},
        "n_mamba_heads": 4,
    },
    "nemotron_h": {"layers_block_type": ["mamba", "attention", "mamba", "moe", "attention", "mamba"]},
    "granitemoehybrid": {"layer_types": ["mamba", "attention", "mamba", "mamba", "attention", "mamba"]},
    "lfm2": {"layer_types": CONVOLUTIONS},
    "lfm2_moe": {"layer_types": CONVOLUTIONS},
    "falcon": {"num_kv_heads": HEADS},
    "esmc": {"num_key_value_heads": HEADS},
    "gemma3n_text": {
        **{"num_kv_shared_layers": 2, "layer_types": WINDOWS},
        "activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.5, 0.0, 0.0],
    },
    "gemma4_text": {"num_kv_shared_layers": 2, "layer_types": WINDOWS},
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 1},
    "zaya": {"num_experts_per_tok": 1},
    "mobilebert": {"true_hidden_size": WIDTH, "intra_bottleneck_size": WIDTH},
}


def build(kind, task):
    """A model with random weights, large enough that every layer changes the answers."""
    from accelerate import init_empty_weights

    config = config_of(kind, task)
    auto = getattr(transformers, TASKS[task][0])
    with init_empty_weights():
        blank = auto.from_config(copy.deepcopy(config))
    size = sum(parameter.numel() for parameter in blank.parameters())
    if size > MOST_PARAMETERS:
        raise RuntimeError(f"too large: {size / 1e6:.0f} million parameters")
    torch.manual_seed(0)
    model = auto.from_config(config).eval().float()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.08 * torch.randn_like(parameter))
    return model


def config_of(kind, task):
    """The configuration of a tiny model; keys that make its family object are left out one after the other."""
    cls = configuration_auto.CONFIG_MAPPING[kind]
    special = {**SPECIAL.get(kind, {}), **({"is_decoder": False} if kind == "reformer" and task != "causal" else {})}
    values = _values(cls, special)
    for name, section in _other_sections(cls, values):
        values[name] = section
    first = None
    for left_out in ([], ["num_key_value_heads"], ["head_dim"], ["num_experts", "num_experts_per_tok"]):
        try:
            return cls(**{key: value for key, value in values.items() if key not in left_out})
        except Exception as error:  # every family has its own checks
            first = first or error
    raise first


def _values(cls, special):
    names = dict(inspect.signature(cls.__init__).parameters)
    renamed = getattr(cls, "attribute_map", None) or {}
    values = {renamed.get(key, key): value for key, value in KEYS.items() if renamed.get(key, key) in names}
    values |= {key: value for key, value in KEYS.items() if key in names}
    values["num_labels"] = KEYS["num_labels"]
    if "enable_moe_block" in names:
        values = {key: value for key, value in values.items() if "expert" not in key and not key.startswith("moe")}
    for name, section in (getattr(cls, "sub_configs", None) or {}).items():
        if name in names and hasattr(section, "model_type") and section.__name__ != "AutoConfig":
            values[name] = {key: value for key, value in _values(section, {}).items() if key != "num_labels"}
    if "qk_rope_head_dim" in names:
        values.pop("head_dim", None)
        values |= {"num_key_value_heads": HEADS} if "num_key_value_heads" in names else {}
    return values | special


def _other_sections(cls, values):
    """Sections that are no typed fields, as the family makes them, made tiny."""
    try:
        plain = cls()
    except Exception:  # it cannot be made of nothing
        return
    for name in getattr(cls, "sub_configs", None) or {}:
        section = getattr(plain, name, None)
        if name not in values and hasattr(section, "model_type"):
            made = _values(type(section), SPECIAL.get(section.model_type, {}))
            made.pop("num_labels", None)
            yield name, {**made, "model_type": section.model_type}
