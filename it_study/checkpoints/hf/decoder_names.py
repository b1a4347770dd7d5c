"""Maps our parameter names to those of Hugging Face's decoder-only models."""

from it_study.checkpoints.hf.names import HEAD, Layout, Tensor
from it_study.models.decoder_only.config import DecoderConfig

EMBEDDING = 'model.embed_tokens.weight'

# Our norms by the place of a family's norms, and theirs.
_NORMS = {
  'before': {
    'pre_self_attention_layer_norm': 'input_layernorm',
    'pre_mlp_layer_norm': 'post_attention_layernorm',
  },
  'after': {
    'post_self_attention_layer_norm': 'post_attention_layernorm',
    'post_mlp_layer_norm': 'post_feedforward_layernorm',
  },
  'around': {
    'pre_self_attention_layer_norm': 'input_layernorm',
    'post_self_attention_layer_norm': 'post_attention_layernorm',
    'pre_mlp_layer_norm': 'pre_feedforward_layernorm',
    'post_mlp_layer_norm': 'post_feedforward_layernorm',
  },
}
_ATTENTION = {
  'query': 'q_proj',
  'key': 'k_proj',
  'value': 'v_proj',
  'out': 'o_proj',
}
_MLP = {'wi_0': 'gate_proj', 'wi_1': 'up_proj', 'wo': 'down_proj'}


def tensors(config: DecoderConfig) -> dict[str, Tensor]:
  """Returns Hugging Face's tensors by our names, 'decoder/layers_0/…'.

  PyTorch's linear layers store [out, in], ours [in, out].
  """
  table = {
    'token_embedder/embedding': Tensor(EMBEDDING, False),
    'decoder/decoder_norm/scale': Tensor('model.norm.weight', False),
  }
  if not config.logits_via_embedding:
    table['decoder/logits_dense/kernel'] = Tensor(HEAD, True)
  for layer in range(config.num_layers):
    ours, theirs = f'decoder/layers_{layer}', f'model.layers.{layer}'
    attention = f'{ours}/self_attention'
    for name, projection in _ATTENTION.items():
      stem = f'{theirs}.self_attn.{projection}'
      table[f'{attention}/{name}/kernel'] = Tensor(f'{stem}.weight', True)
      if config.out_bias if name == 'out' else config.qkv_bias:
        table[f'{attention}/{name}/bias'] = Tensor(f'{stem}.bias', False)
    if config.qk_norm != 'none':
      for name in ('query', 'key'):
        table[f'{attention}/{name}_norm/scale'] = Tensor(
          f'{theirs}.self_attn.{name[0]}_norm.weight', False
        )
    for name, projection in _MLP.items():
      stem = f'{theirs}.mlp.{projection}'
      table[f'{ours}/mlp/{name}/kernel'] = Tensor(f'{stem}.weight', True)
      if config.mlp_bias:
        table[f'{ours}/mlp/{name}/bias'] = Tensor(f'{stem}.bias', False)
    for name, norm in _NORMS[config.norm_place].items():
      table[f'{ours}/{name}/scale'] = Tensor(f'{theirs}.{norm}.weight', False)
  return table


def is_unused(name: str) -> bool:
  """Returns whether a tensor is one that no model reads.

  The first conversions of LLaMA store the frequencies of the rotation.
  """
  return name.endswith('.self_attn.rotary_emb.inv_freq')


LAYOUT = Layout(
  tensors=tensors,
  embeddings=(EMBEDDING,),
  is_unused=is_unused,
  may_lack_head=False,
  gin_file='models/smollm2_135m.gin',
)
