"""Settings of files that no family has to read: what changes no logits, and values that mean a part is not there."""

import reprlib
from collections.abc import Mapping

from core.engine.config import MOST_BLOCKS
from core.formats.checked import CheckedValues
from core.formats.text import shown
from core.language import _

_PROVENANCE = """
    architectures model_type transformers_version transformers.js_config _name_or_path name_or_path _commit_hash
    auto_map torch_dtype dtype unsloth_version unsloth_fixed license tags language base_model is_llama_config
"""
_OUTPUT = """
    output_attentions output_hidden_states return_dict return_dict_in_generate output_scores output_logits use_cache
    cache_implementation torchscript keys_to_ignore_at_inference chunk_size_feed_forward tie_last_hidden_states
"""
_COMPUTATION = """
    attn_implementation _attn_implementation _attn_implementation_autoset _experts_implementation use_bfloat16
    use_flash_attn use_flash_attention _flash_attn_2_enabled use_sdpa pretraining_tp gradient_checkpointing
    reorder_and_upcast_attn tf_legacy_loss fused_attention
"""
_TRAINING = """
    initializer_range initializer_factor attention_dropout attention_dropout_prob attn_dropout attn_pdrop
    attention_probs_dropout_prob hidden_dropout hidden_dropout_prob resid_pdrop resid_dropout residual_dropout
    embd_pdrop embd_dropout embedding_dropout embed_dropout dropout mlp_dropout classifier_dropout
    classifier_dropout_prob ffn_dropout activation_dropout layerdrop
"""
_CLASSIFICATION = """
    id2label label2id num_labels problem_type task_specific_params finetuning_task summary_type summary_use_proj
    summary_activation summary_proj_to_labels summary_first_dropout
"""
_TOKENS = """
    bos_token_id eos_token_id pad_token_id unk_token_id sep_token_id cls_token_id mask_token_id
    decoder_start_token_id forced_bos_token_id forced_eos_token_id tokenizer_class prefix
"""
_SAMPLING = """
    max_length min_length max_new_tokens do_sample num_beams num_beam_groups temperature top_k top_p min_p typical_p
    epsilon_cutoff eta_cutoff repetition_penalty length_penalty diversity_penalty no_repeat_ngram_size
    encoder_no_repeat_ngram_size bad_words_ids suppress_tokens begin_suppress_tokens early_stopping
    num_return_sequences remove_invalid_values exponential_decay_length_penalty
"""
_QUANTIZATION = """
    quantization_config.modules_to_not_convert quantization_config.dequantize quantization_config.scale_fmt
"""
_LISTS = (_PROVENANCE, _OUTPUT, _COMPUTATION, _TRAINING, _CLASSIFICATION, _TOKENS, _SAMPLING, _QUANTIZATION)
WITHOUT_EFFECT = frozenset(key for keys in _LISTS for key in keys.split())
"""Keys of config.json that change no logits of a language model."""
NEUTRAL = {
    "is_encoder_decoder": False,
    "add_cross_attention": False,
    "tie_encoder_decoder": False,
    "is_decoder": False,
    "pruned_heads": {},
    "per_layer_config": {},
    "use_mrope": False,
    "rope_interleaved": False,
    "quantization_config": {},
    "use_bidirectional_attention": False,
}
"""Keys of config.json that have one value without effect."""
GGUF_WITHOUT_EFFECT = frozenset(("vocab_size", "pooling_type", "rope.scaling.finetuned"))
"""The same of GGUF metadata, without the architecture before it."""
GGUF_NEUTRAL = {"expert_count": 0, "expert_used_count": 0, "nextn_predict_layers": 0, "attention.causal": True}


WIDEST = 2**20
"""Numbers in a hidden state or a head, at most: files may say anything."""
LARGEST = {
    **dict.fromkeys(("num_hidden_layers", "n_layer", "block_count"), MOST_BLOCKS),
    **dict.fromkeys(("hidden_size", "n_embd", "embedding_length", "word_embed_proj_dim"), WIDEST),
    **dict.fromkeys(("head_dim", "attention.key_length", "rope.dimension_count"), WIDEST),
}
"""By setting, the largest value of those that decide how much is computed before a model is made."""


def check_sizes(values: CheckedValues) -> None:
    """Raise `UserError` for a setting that no model has so large, before a family reads it."""
    for key, most in LARGEST.items():
        value = values.values.get(key)
        if type(value) is int and value > most:
            raise values.invalid(key, _("a whole number of at most {most:,}").format(most=most))
    if isinstance(values.values.get("text_config"), dict):
        check_sizes(values.object("text_config"))


def refuse_unread(
    values: CheckedValues, family: str, without_effect: frozenset[str], neutral: Mapping[str, object]
) -> None:
    """Raise `UserError` for a setting that was not read, unless it or its value is known to change nothing.

    A null is as good as an absent setting. `family` is the title, for the error.
    """
    for key, value in values.unread():
        name = key.removeprefix("text_config.")  # the language model's settings, beside those of a vision model
        if value is None or name in without_effect or (name in neutral and value == neutral[name]):
            continue
        raise values.error(
            _("{key} is {value}, which is not supported in a {family} model").format(
                key=shown(key), value=reprlib.repr(value), family=family
            ),
            _("choose another model, or delete the setting if it is only a note"),
        )
