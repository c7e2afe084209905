"""The names of a Whisper's tensors: OpenAI's, which are used here, and Hugging Face's."""

from __future__ import annotations

import re

# OpenAI's → Hugging Face's: whole names, and the parts of dotted names that differ.
_WHOLE = {
    "encoder.positional_embedding": "model.encoder.embed_positions.weight",
    "decoder.positional_embedding": "model.decoder.embed_positions.weight",
    "decoder.token_embedding.weight": "model.decoder.embed_tokens.weight",
    "decoder.head.weight": "proj_out.weight",
}
_PARTS = {
    "attn": "self_attn",
    "attn_ln": "self_attn_layer_norm",
    "cross_attn": "encoder_attn",
    "cross_attn_ln": "encoder_attn_layer_norm",
    "mlp.0": "fc1",
    "mlp.2": "fc2",
    "mlp_ln": "final_layer_norm",
    "query": "q_proj",
    "key": "k_proj",
    "value": "v_proj",
    "out": "out_proj",
    "ln_post": "layer_norm",
    "ln": "layer_norm",
    "blocks": "layers",
}
_ALTERNATIVES = "|".join(re.escape(part) for part in sorted(_PARTS, key=len, reverse=True))
_PART = re.compile(rf"(?<=\.)({_ALTERNATIVES})(?=\.)")


def huggingface_name(name: str) -> str:
    """Hugging Face's name for OpenAI's name of a tensor: `encoder.blocks.0.attn.query.weight` →
    `model.encoder.layers.0.self_attn.q_proj.weight`.
    """
    return _WHOLE.get(name) or "model." + _PART.sub(lambda match: _PARTS[match[1]], name)
