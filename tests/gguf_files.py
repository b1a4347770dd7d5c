"""A tiny Llama or Gemma 3 in GGUF, written as llama.cpp's conversion does."""

import functools

import gguf
import numpy as np
import tokenizers

from it_study.models.decoder_only.config import DecoderConfig, Rope

WIDTH, HEADS, KV_HEADS, HEAD_DIM, MLP, VOCAB = 32, 4, 2, 8, 64, 260
# Every byte as byte-level tokenizers spell it: all texts can be encoded.
_BYTES = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
TOKENS = ['<|end|>', '<|user|>', *_BYTES, 'ab', 'Ġa']
_MERGES = ['a b', 'Ġ a']
# The model's configuration, given `vocab_size`, and its gin file.
make_config = functools.partial(
  DecoderConfig,
  emb_dim=WIDTH,
  num_heads=HEADS,
  num_kv_heads=KV_HEADS,
  head_dim=HEAD_DIM,
  mlp_dim=MLP,
  num_layers=1,
  logits_via_embedding=True,
  rope=Rope(base=100_000.0),
)
GIN = f"""
MODEL = @DecoderConfig
DecoderConfig.emb_dim = {WIDTH}
DecoderConfig.num_heads = {HEADS}
DecoderConfig.num_kv_heads = {KV_HEADS}
DecoderConfig.head_dim = {HEAD_DIM}
DecoderConfig.mlp_dim = {MLP}
DecoderConfig.num_layers = 1
DecoderConfig.logits_via_embedding = True
DecoderConfig.rope = @Rope()
Rope.base = 100000.0
"""


def permuted(values: np.ndarray, heads: int) -> np.ndarray:
  """As llama.cpp's conversion permutes queries and keys."""
  split = values.reshape(heads, 2, values.shape[0] // heads // 2, -1)
  return split.swapaxes(1, 2).reshape(values.shape)


def tensors(architecture: str = 'llama') -> dict[str, np.ndarray]:
  """Returns a model's tensors by the names of Hugging Face."""
  random = np.random.default_rng(0)

  def drawn(*shape):
    return random.normal(size=shape).astype(np.float32)

  layer = 'model.layers.0'
  of_llama = {
    'model.embed_tokens.weight': drawn(VOCAB, WIDTH),
    'model.norm.weight': drawn(WIDTH),
    f'{layer}.input_layernorm.weight': drawn(WIDTH),
    f'{layer}.post_attention_layernorm.weight': drawn(WIDTH),
    f'{layer}.self_attn.q_proj.weight': drawn(HEADS * HEAD_DIM, WIDTH),
    f'{layer}.self_attn.k_proj.weight': drawn(KV_HEADS * HEAD_DIM, WIDTH),
    f'{layer}.self_attn.v_proj.weight': drawn(KV_HEADS * HEAD_DIM, WIDTH),
    f'{layer}.self_attn.o_proj.weight': drawn(WIDTH, HEADS * HEAD_DIM),
    f'{layer}.mlp.gate_proj.weight': drawn(MLP, WIDTH),
    f'{layer}.mlp.up_proj.weight': drawn(MLP, WIDTH),
    f'{layer}.mlp.down_proj.weight': drawn(WIDTH, MLP),
  }
  if architecture != 'gemma3':
    return of_llama
  return {
    **of_llama,
    f'{layer}.self_attn.q_norm.weight': drawn(HEAD_DIM),
    f'{layer}.self_attn.k_norm.weight': drawn(HEAD_DIM),
    f'{layer}.pre_feedforward_layernorm.weight': drawn(WIDTH),
    f'{layer}.post_feedforward_layernorm.weight': drawn(WIDTH),
  }


_NAMES = {
  'model.embed_tokens': 'token_embd',
  'model.norm': 'output_norm',
  'input_layernorm': 'attn_norm',
  'post_attention_layernorm': 'ffn_norm',
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
}
_GEMMA_NAMES = {
  'self_attn.q_norm': 'attn_q_norm',
  'self_attn.k_norm': 'attn_k_norm',
  'post_attention_layernorm': 'post_attention_norm',
  'pre_feedforward_layernorm': 'ffn_norm',
  'post_feedforward_layernorm': 'post_ffw_norm',
}


def write(
  path,
  *,
  architecture='llama',
  quantised=None,
  pre='smollm',
  without=None,
  extra=None,
  fields=None,
):
  """Writes a file as llama.cpp's conversion does.

  Args:
    without: What is left out: 'rope' or 'weights'.
    fields: Further fields by name.
  """
  writer = gguf.GGUFWriter(str(path), architecture)
  writer.add_block_count(1)
  writer.add_context_length(128)
  writer.add_embedding_length(WIDTH)
  writer.add_feed_forward_length(MLP)
  writer.add_head_count(HEADS)
  writer.add_head_count_kv(KV_HEADS)
  writer.add_layer_norm_rms_eps(1e-5)
  if without != 'rope':
    writer.add_rope_freq_base(100000.0)
  is_gemma = architecture == 'gemma3'
  if is_gemma:
    writer.add_sliding_window(16)
    writer.add_key_length(HEAD_DIM)
    writer.add_value_length(HEAD_DIM)
  writer.add_tokenizer_model('gpt2')
  writer.add_tokenizer_pre(pre)
  writer.add_token_list(TOKENS)
  writer.add_token_types([3, 3] + [1] * (VOCAB - 2))
  writer.add_token_merges(_MERGES)
  writer.add_bos_token_id(1)
  writer.add_eos_token_id(0)
  writer.add_chat_template("{{ messages[0]['content'] }}")
  for name, value in (fields or {}).items():
    writer.add_key_value(name, value, gguf.GGUFValueType.get_type(value))
  stored = {} if without == 'weights' else tensors(architecture)
  names = {**_NAMES, **(_GEMMA_NAMES if is_gemma else {})}
  for name, values in stored.items():
    stem = name.removesuffix('.weight').removeprefix('model.layers.0.')
    block = 'blk.0.' if 'layers' in name else ''
    if is_gemma:
      values = values + 1 if 'norm' in name else values
    elif 'q_proj' in name:
      values = permuted(values, HEADS)
    elif 'k_proj' in name:
      values = permuted(values, KV_HEADS)
    kind = None
    if quantised is not None and values.ndim == 2:
      values, kind = gguf.quantize(values, quantised), quantised
    writer.add_tensor(f'{block}{names[stem]}.weight', values, raw_dtype=kind)
  if extra is not None:
    writer.add_tensor(extra, np.zeros(4, np.float32))
  writer.write_header_to_file()
  writer.write_kv_data_to_file()
  writer.write_tensors_to_file()
  writer.close()
  return path
