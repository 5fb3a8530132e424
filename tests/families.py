"""Tiny models of many transformers families, made from scratch: what surgery on layers is tested with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import torch
import transformers

DEPTH = 5
WIDTH = 16
WORDS = 40
SPECIAL: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SIZES: dict[str, Any] = {"vocab_size": WORDS, "hidden_size": WIDTH, "num_hidden_layers": DEPTH, **SPECIAL}
TEXT: dict[str, Any] = {**SIZES, "intermediate_size": 24, "num_attention_heads": 2, "max_position_embeddings": 64}
GROUPED: dict[str, Any] = {"num_key_value_heads": 1, "head_dim": 8}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8, "shared_expert_intermediate_size": 8}
STATES = {"mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_chunk_size": 4, "mamba_n_groups": 1}
PATCHES = {"hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": 2, "image_size": 8, "patch_size": 4}
SOUND: dict[str, Any] = {
    **{"hidden_size": WIDTH, "intermediate_size": 24, "num_hidden_layers": DEPTH, "num_attention_heads": 2},
    **{"conv_dim": (8, 8), "conv_kernel": (4, 4), "conv_stride": (4, 2), "num_feat_extract_layers": 2},
    **{"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2},
}
T5: dict[str, Any] = {
    **{"vocab_size": WORDS, "d_model": WIDTH, "d_kv": 8, "d_ff": 24, "num_heads": 2, "num_layers": DEPTH},
    **{"num_decoder_layers": 4, "relative_attention_num_buckets": 8, "decoder_start_token_id": 0},
}
BART: dict[str, Any] = {
    **{"vocab_size": WORDS, "d_model": WIDTH, "encoder_layers": DEPTH, "decoder_layers": 4, **SPECIAL},
    **{"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24},
    **{"max_position_embeddings": 64, "decoder_start_token_id": 2},
}
WHISPER = {**BART, "num_mel_bins": 8, "max_source_positions": 20, "max_target_positions": 30}
WINDOWS = ["sliding_attention", "full_attention", "sliding_attention", "sliding_attention", "full_attention"]
HYBRID = ["linear_attention", "full_attention", "linear_attention", "linear_attention", "full_attention"]

Kept = Sequence[int]


def _any(kept: Kept) -> bool:
    return True


def _first(kept: Kept) -> bool:
    return kept[0] == 0


def _attending(kept: Kept) -> bool:
    return any(HYBRID[layer] == "full_attention" for layer in kept)


def _periodic(kept: Kept) -> bool:
    """Jamba: attention is layer 1 and 4, experts are layers 1 and 3; both have to lie at equal distances."""
    return _attending(kept) and all(
        any(
            all((new % period == offset) == (old in special) for new, old in enumerate(kept))
            for period in range(1, DEPTH + 2)
            for offset in range(period)
        )
        for special in ({1, 4}, {1, 3})
    )


@attrs.frozen
class Family:
    """One family, or one way of configuring it.

    Args:
        name: What docs/families.md calls it.
        model: Its class in transformers.
        auto: The class that a user would reload it with.
        config: The configuration.
        blocks: The list of layers, where it is not found by itself.
        special: What its configuration says of single layers, for the page.
        works: Which layers can be kept.
        refused: Which cannot, and why, for the page.
        often: Tested whenever the tests are run, and not only with the slow ones.
    """

    name: str
    model: str
    auto: str
    config: dict[str, Any]
    blocks: str | None = None
    special: str = ""
    works: Callable[[Kept], bool] = _any
    refused: str = ""
    often: bool = True

    @property
    def generates(self) -> bool:
        """It generates, with a cache to be trusted: RWKV's gives other tokens in transformers 5.23, cut or not."""
        return self.auto in {"AutoModelForCausalLM", "AutoModelForSeq2SeqLM"} and self.name != "RWKV"

    def make(self) -> Any:
        """The model, in eval mode, with random weights so large that every layer changes the answers."""
        torch.manual_seed(0)
        cls: Any = getattr(transformers, self.model)
        model = cls(cls.config_class(**self.config)).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        return model


def inputs_for(model: Any, length: int = 10) -> dict[str, torch.Tensor]:
    """Two examples for a model; what `keep` makes up itself is another choice."""
    generator = torch.Generator().manual_seed(1)

    def ids() -> torch.Tensor:
        return torch.randint(3, WORDS, (2, length), generator=generator)

    if model.main_input_name == "pixel_values":
        return {"pixel_values": torch.randn(2, 3, 8, 8, generator=generator)}
    if model.main_input_name == "input_values":
        return {"input_values": torch.randn(2, 90, generator=generator)}
    if model.main_input_name == "input_features":
        return {"input_features": torch.randn(2, 8, 40, generator=generator), "decoder_input_ids": ids()}
    inputs = {"input_ids": ids(), "attention_mask": torch.ones(2, length, dtype=torch.long)}
    if model.config.is_encoder_decoder and not type(model).__name__.endswith("EncoderModel"):
        inputs["decoder_input_ids"] = ids()
    return inputs


def answers(model: Any, inputs: dict[str, torch.Tensor] | None = None) -> torch.Tensor:
    """Logits, or the last states of a model that has none."""
    with torch.no_grad():
        output = model(**(inputs if inputs is not None else inputs_for(model)))
    answer: torch.Tensor = output.logits if "logits" in output else output.last_hidden_state
    return answer


MASKED, CAUSAL, SEQ2SEQ = "AutoModelForMaskedLM", "AutoModelForCausalLM", "AutoModelForSeq2SeqLM"
NO_ATTENTION = "keeping no attention layer: the family's cache needs one"
BIAS = "relative position bias, which layer 0 makes for all"

FAMILIES = [
    Family("BERT", "BertForMaskedLM", MASKED, TEXT),
    Family("RoBERTa", "RobertaForMaskedLM", MASKED, TEXT),
    Family(
        "DistilBERT",
        "DistilBertForMaskedLM",
        MASKED,
        {"vocab_size": WORDS, "dim": WIDTH, "hidden_dim": 24, "n_layers": DEPTH, "n_heads": 2},
    ),
    Family(
        "ModernBERT",
        "ModernBertForMaskedLM",
        MASKED,
        {**TEXT, "local_attention": 4, "layer_types": WINDOWS, "cls_token_id": 1, "sep_token_id": 2},
        special="`layer_types`",
        works=_first,
        refused="removing layer 0: it alone has no norm before its attention",
    ),
    Family(
        "GPT-2",
        "GPT2LMHeadModel",
        CAUSAL,
        {"vocab_size": WORDS, "n_embd": WIDTH, "n_layer": DEPTH, "n_head": 2, "n_positions": 64, **SPECIAL},
    ),
    Family("GPT-NeoX", "GPTNeoXForCausalLM", CAUSAL, TEXT),
    Family(
        "OPT",
        "OPTForCausalLM",
        CAUSAL,
        {**SIZES, "num_attention_heads": 2, "ffn_dim": 24, "word_embed_proj_dim": WIDTH, "max_position_embeddings": 64},
    ),
    Family("Llama", "LlamaForCausalLM", CAUSAL, {**TEXT, **GROUPED}),
    Family("Mistral", "MistralForCausalLM", CAUSAL, {**TEXT, **GROUPED, "sliding_window": 4}),
    Family(
        "Qwen3",
        "Qwen3ForCausalLM",
        CAUSAL,
        {**TEXT, **GROUPED, "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 3},
        special="`layer_types`, `max_window_layers`",
    ),
    Family(
        "Gemma 3",
        "Gemma3ForCausalLM",
        CAUSAL,
        {**TEXT, **GROUPED, "query_pre_attn_scalar": 8, "sliding_window": 4, "layer_types": WINDOWS},
        special="`layer_types`",
    ),
    Family(
        "T5, encoder",
        "T5ForConditionalGeneration",
        SEQ2SEQ,
        {**T5, "num_decoder_layers": 2},  # with more than in the encoder, `generate` fails in transformers 5.23
        "encoder.block",
        special=BIAS,
    ),
    Family("T5, decoder", "T5ForConditionalGeneration", SEQ2SEQ, T5, "decoder.block", special=BIAS),
    Family("T5, encoder alone", "T5EncoderModel", "T5EncoderModel", T5, special=BIAS),
    Family("ViT", "ViTForImageClassification", "AutoModelForImageClassification", {**PATCHES, "intermediate_size": 24}),
    Family("Mamba", "MambaForCausalLM", CAUSAL, {**SIZES, "state_size": 4, "time_step_rank": 2}),
    Family(
        "Bamba",
        "BambaForCausalLM",
        CAUSAL,
        {**TEXT, **STATES, "num_key_value_heads": 1, "attn_layer_indices": [1, 4]},
        special="`attn_layer_indices`; layers give back tuples",
        works=_attending,
        refused=NO_ATTENTION,
    ),
    Family(
        "Granite 4 hybrid",
        "GraniteMoeHybridForCausalLM",
        CAUSAL,
        {**TEXT, **STATES, "num_key_value_heads": 1, "layer_types": HYBRID, "num_local_experts": 4},
        special="`layer_types`",
        works=_attending,
        refused=NO_ATTENTION,
    ),
    Family(
        "Qwen3-Next",
        "Qwen3NextForCausalLM",
        CAUSAL,
        {
            **{**TEXT, **GROUPED, **EXPERTS, "layer_types": HYBRID, "decoder_sparse_step": 2, "mlp_only_layers": [3]},
            **{"linear_key_head_dim": 8, "linear_value_head_dim": 8},
            **{"linear_num_key_heads": 2, "linear_num_value_heads": 2},
        },
        special="`layer_types`; `decoder_sparse_step` becomes `mlp_only_layers`",
        works=_attending,
        refused=NO_ATTENTION,
    ),
    Family(
        "Jamba",
        "JambaForCausalLM",
        CAUSAL,
        {
            **{**TEXT, "num_key_value_heads": 1, "num_experts": 4, "mamba_d_state": 4, "mamba_dt_rank": 2},
            **{"attn_layer_period": 3, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1},
        },
        special="`attn_layer_period`, `expert_layer_period` and their offsets",
        works=_periodic,
        refused="a choice that no period and offset describe; " + NO_ATTENTION,
    ),
    Family(
        "Falcon-H1",
        "FalconH1ForCausalLM",
        CAUSAL,
        {**TEXT, **STATES, **GROUPED, "mamba_d_ssm": 32},
        special="lists that are not about layers",
        often=False,
    ),
    Family(
        "Zamba2",
        "Zamba2ForCausalLM",
        CAUSAL,
        {
            **{**TEXT, "layers_block_type": [{"full_attention": "hybrid"}.get(kind, kind) for kind in HYBRID]},
            **{"mamba_d_state": 8, "n_mamba_heads": 4, "chunk_size": 4, "use_mem_rope": True},
        },
        special="`layers_block_type`, `hybrid_layer_ids`; layers of two classes, with shared weights",
        works=lambda kept: {1, 4} <= set(kept),
        refused="removing a hybrid layer: the shared block holds an adapter for each",
        often=False,
    ),
    Family(
        "Nemotron-H",
        "NemotronHForCausalLM",
        CAUSAL,
        {
            **{**TEXT, **GROUPED, "layers_block_type": ["mamba", "attention", "mamba", "moe", "attention"]},
            **{"mamba_num_heads": 4, "mamba_head_dim": 8, "ssm_state_size": 8, "n_groups": 1, "chunk_size": 4},
            **{"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8},
            "moe_shared_expert_intermediate_size": 8,
        },
        special="`layers_block_type`, which alone states the depth",
        works=_attending,
        refused=NO_ATTENTION,
        often=False,
    ),
    Family(
        "RecurrentGemma",
        "RecurrentGemmaForCausalLM",
        CAUSAL,
        {
            **{**TEXT, **GROUPED, "lru_width": WIDTH, "attention_window_size": 4},
            "block_types": ["recurrent", "recurrent", "attention"],
        },
        special="`block_types`, which is repeated",
        works=lambda kept: 2 in kept,
        refused=NO_ATTENTION,
        often=False,
    ),
    Family(
        "LFM2",
        "Lfm2ForCausalLM",
        CAUSAL,
        {**TEXT, "num_key_value_heads": 1, "layer_types": [{"linear_attention": "conv"}.get(k, k) for k in HYBRID]},
        special="`layer_types`",
        works=_attending,
        refused=NO_ATTENTION,
        often=False,
    ),
    Family(
        "MiniMax",
        "MiniMaxForCausalLM",
        CAUSAL,
        {**TEXT, **GROUPED, "num_local_experts": 4, "layer_types": HYBRID, "block_size": 4},
        special="`layer_types`; decay rates that are made from the layer's number, and saved",
        often=False,
    ),
    Family(
        "Mamba-2",
        "Mamba2ForCausalLM",
        CAUSAL,
        {**SIZES, "state_size": 4, "num_heads": 4, "head_dim": 8, "n_groups": 1, "chunk_size": 4},
        often=False,
    ),
    Family(
        "RWKV",
        "RwkvForCausalLM",
        CAUSAL,
        {**SIZES, "attention_hidden_size": WIDTH},
        works=lambda kept: kept[0] == 0 and len(kept) > 1,
        refused="removing layer 0, which alone has a norm in front; keeping one layer, which transformers cannot build",
        often=False,
    ),
    Family(
        "GPT-Neo",
        "GPTNeoForCausalLM",
        CAUSAL,
        {
            **{"vocab_size": WORDS, "hidden_size": WIDTH, "num_layers": 6, "num_heads": 2, "intermediate_size": 24},
            **{"attention_types": [[["global", "local"], 3]], "window_size": 4, "max_position_embeddings": 64},
            **SPECIAL,
        },
        special="`attention_types`",
        often=False,
    ),
    Family(
        "Qwen2-MoE",
        "Qwen2MoeForCausalLM",
        CAUSAL,
        {**TEXT, **EXPERTS, "num_key_value_heads": 1, "decoder_sparse_step": 2},
        special="`decoder_sparse_step` becomes `mlp_only_layers`",
        often=False,
    ),
    Family(
        "DeepSeek-V3",
        "DeepseekV3ForCausalLM",
        CAUSAL,
        {
            **{**TEXT, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1},
            **{"moe_intermediate_size": 8, "first_k_dense_replace": 2, "q_lora_rank": 8, "kv_lora_rank": 8},
            **{"num_key_value_heads": 2, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8},
        },
        special="`first_k_dense_replace`",
        often=False,
    ),
    Family(
        "Llama 4",
        "Llama4ForCausalLM",
        CAUSAL,
        {
            **{**TEXT, **GROUPED, "intermediate_size_mlp": 24, "num_local_experts": 4, "attention_chunk_size": 4},
            **{"interleave_moe_layer_step": 2, "no_rope_layers": [1, 0, 1, 1, 0]},
        },
        special="`no_rope_layers`, `moe_layers`, `layer_types`",
        often=False,
    ),
    Family(
        "SmolLM3",
        "SmolLM3ForCausalLM",
        CAUSAL,
        {**TEXT, "num_key_value_heads": 1, "no_rope_layers": [1, 0, 1, 1, 0]},
        special="`no_rope_layers`",
        often=False,
    ),
    Family(
        "GPT-OSS",
        "GptOssForCausalLM",
        CAUSAL,
        {**TEXT, **GROUPED, "num_local_experts": 4, "sliding_window": 4, "layer_types": WINDOWS},
        special="`layer_types`",
        often=False,
    ),
    Family("Mixtral", "MixtralForCausalLM", CAUSAL, {**TEXT, **GROUPED, "num_local_experts": 4}, often=False),
    Family(
        "Gemma 2",
        "Gemma2ForCausalLM",
        CAUSAL,
        {**TEXT, **GROUPED, "sliding_window": 4, "query_pre_attn_scalar": 8},
        special="`layer_types`",
        often=False,
    ),
    Family("Phi-3", "Phi3ForCausalLM", CAUSAL, {**TEXT, "num_key_value_heads": 1}, often=False),
    Family("Falcon", "FalconForCausalLM", CAUSAL, {**SIZES, "num_attention_heads": 2}, often=False),
    Family("BLOOM", "BloomForCausalLM", CAUSAL, {**SIZES, "n_head": 2}, often=False),
    Family("RemBERT", "RemBertForMaskedLM", MASKED, {**TEXT, "input_embedding_size": 8}, often=False),
    Family("DeBERTa-v2", "DebertaV2ForMaskedLM", MASKED, {**TEXT, "relative_attention": True}, often=False),
    Family("BART, encoder", "BartForConditionalGeneration", SEQ2SEQ, BART, "model.encoder.layers", often=False),
    Family("BART, decoder", "BartForConditionalGeneration", SEQ2SEQ, BART, "model.decoder.layers", often=False),
    Family(
        "LongT5, encoder",
        "LongT5ForConditionalGeneration",
        SEQ2SEQ,
        {**T5, "num_decoder_layers": 2},
        "encoder.block",
        special=BIAS,
        often=False,
    ),
    Family(
        "Whisper, decoder",
        "WhisperForConditionalGeneration",
        "AutoModelForSpeechSeq2Seq",
        WHISPER,
        "model.decoder.layers",
        often=False,
    ),
    Family("WavLM", "WavLMModel", "AutoModel", SOUND, special=BIAS, often=False),
    Family("DINOv2", "Dinov2Model", "AutoModel", PATCHES, special="`out_indices` of a backbone", often=False),
]


@attrs.frozen
class Refused:
    """A family, or a way of configuring it, whose layers are refused.

    Args:
        name: What docs/families.md calls it.
        model: Its class in transformers.
        config: The configuration.
        kept: Layers that are refused.
        says: What is in the message.
        why: For the page.
    """

    name: str
    model: str
    config: dict[str, Any]
    kept: Kept
    says: str
    why: str

    def make(self) -> Any:
        return Family(self.name, self.model, "", self.config).make()


REFUSED = [
    Refused(
        "ALBERT",
        "AlbertForMaskedLM",
        {**TEXT, "embedding_size": 8},
        (0, 1),
        "states 5 layers, but .* holds 1",
        "all layers are one",
    ),
    Refused(
        "Swin",
        "SwinModel",
        {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 2, "image_size": 8, "patch_size": 2},
        (1,),
        "there would be 2 layers",
        "its list holds stages, which give out states of another shape than they take",
    ),
    Refused(
        "GPT-2 with `scale_attn_by_inverse_layer_idx`",
        "GPT2LMHeadModel",
        {"vocab_size": WORDS, "n_embd": WIDTH, "n_layer": 3, "n_head": 2, "scale_attn_by_inverse_layer_idx": True},
        (0, 2),
        r"attn\.scaling is .* and would be",
        "what a layer computes depends on its number",
    ),
    Refused(
        "DiffLlama",
        "DiffLlamaForCausalLM",
        {**TEXT, "num_key_value_heads": 2},
        (0, 2),
        r"lambda_init is .* and would be",
        "what a layer computes depends on its number",
    ),
    Refused(
        "Gemma 3n",
        "Gemma3nForCausalLM",
        {
            **{**TEXT, **GROUPED, "layer_types": WINDOWS, "num_kv_shared_layers": 2, "sliding_window": 4},
            **{"hidden_size_per_layer_input": 4, "vocab_size_per_layer_input": WORDS, "laurel_rank": 4},
            **{"altup_num_inputs": 2, "activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.5, 0.0]},
        },
        (0, 1, 3, 4),
        "embed_tokens_per_layer",
        "one table of embeddings holds a part for each layer",
    ),
]
