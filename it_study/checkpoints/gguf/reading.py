"""Reads a GGUF file: the configuration and the tensors, dequantised."""

from collections.abc import Mapping
import dataclasses
import os
from typing import Any

import gguf
import numpy as np

from it_study.checkpoints.lazy_arrays import LazyArray
from it_study.errors import InputError, nearest

_Path = str | os.PathLike[str]

# Our field of a config.json, by the end of the key in a GGUF file.
_FIELDS = {
  'embedding_length': 'hidden_size',
  'block_count': 'num_hidden_layers',
  'feed_forward_length': 'intermediate_size',
  'attention.head_count': 'num_attention_heads',
  'attention.head_count_kv': 'num_key_value_heads',
  'context_length': 'max_position_embeddings',
}
# Values that other fields may have, as they then change nothing; None for any.
_NEUTRAL: Mapping[str, Any] = {
  'attention.causal': True,
  'expert_count': 0,
  'expert_used_count': 0,
  'rope.scale_linear': 1.0,
  'rope.scaling.type': 'none',
  'tensor_data_layout': None,
  'vocab_size': None,
}
_HEAD_DIMS = (
  'attention.key_length',
  'attention.value_length',
  'rope.dimension_count',
)
_EPSILON = 'attention.layer_norm_rms_epsilon'
_BASE = 'rope.freq_base'
_TENSORS = {
  'token_embd': 'model.embed_tokens',
  'output_norm': 'model.norm',
  'output': 'lm_head',
}
_LAYER_TENSORS = {
  'attn_norm': 'input_layernorm',
  'ffn_norm': 'post_attention_layernorm',
  'attn_q': 'self_attn.q_proj',
  'attn_k': 'self_attn.k_proj',
  'attn_v': 'self_attn.v_proj',
  'attn_output': 'self_attn.o_proj',
  'attn_q_norm': 'self_attn.q_norm',
  'attn_k_norm': 'self_attn.k_norm',
  'ffn_gate': 'mlp.gate_proj',
  'ffn_up': 'mlp.up_proj',
  'ffn_down': 'mlp.down_proj',
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Family:
  """What differs between architectures.

  Attributes:
    model_type: The field of a config.json.
    permuted: Whether the file holds the rows of queries and keys in the order
      of llama.cpp's rotation, which pairs neighbours where Hugging Face's pairs
      halves.
    norm_offset: Number that the file adds to the weights of norms.
    fields: Further fields of a config.json, by the end of the key in the file.
    layer_tensors: Further tensors of a layer.
  """

  model_type: str
  permuted: bool = False
  norm_offset: float = 0.0
  fields: Mapping[str, str] = dataclasses.field(default_factory=dict)
  layer_tensors: Mapping[str, str] = dataclasses.field(default_factory=dict)


_FAMILIES = {
  'llama': _Family(model_type='llama', permuted=True),
  'qwen2': _Family(model_type='qwen2'),
  'qwen3': _Family(model_type='qwen3'),
  'gemma3': _Family(
    model_type='gemma3_text',
    norm_offset=1.0,
    fields={'attention.sliding_window': 'sliding_window'},
    layer_tensors={
      'post_attention_norm': 'post_attention_layernorm',
      'ffn_norm': 'pre_feedforward_layernorm',
      'post_ffw_norm': 'post_feedforward_layernorm',
    },
  ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class GgufModel:
  """A model in a GGUF file, by the names of Hugging Face.

  Attributes:
    config: Content of a config.json.
    tensors: Float32 tensors by name, dequantised whenever they are read.
    tokenizer: Fields of the tokenizer by name, without 'tokenizer.'.
  """

  config: dict[str, Any]
  tensors: dict[str, LazyArray]
  tokenizer: dict[str, Any]


def read_gguf(path: _Path) -> GgufModel:
  """Opens a GGUF file; the tensors are mapped, not read.

  Args:
    path: Path of the file.

  Raises:
    InputError: If the file is missing, truncated, no GGUF file or one of
      several that hold the model, or its architecture, a quantisation or a
      field is not supported.
  """
  path = os.fspath(path)
  reader = _open(path)
  fields = {name: field.contents() for name, field in reader.fields.items()}
  if fields.get('split.count', 1) > 1:
    raise InputError(
      f'{path}: one of {fields["split.count"]} files that hold the model. Join '
      'them with llama-gguf-split --merge.'
    )
  config, family = _config(path, fields)
  tensors = {}
  for tensor in reader.tensors:
    name = _their_name(path, tensor.name, family)
    heads = None
    if family.permuted and name.endswith('q_proj.weight'):
      heads = config['num_attention_heads']
    elif family.permuted and name.endswith('k_proj.weight'):
      heads = config['num_key_value_heads']
    offset = family.norm_offset if name.endswith('norm.weight') else 0.0
    tensors[name] = _lazy(path, tensor, heads=heads, offset=offset)
  if 'model.embed_tokens.weight' not in tensors:
    raise InputError(
      f'{path}: the tensor token_embd.weight is missing. A file that holds a '
      'vocabulary alone has no weights; name the one that has them.'
    )
  config['tie_word_embeddings'] = 'lm_head.weight' not in tensors
  config['vocab_size'] = tensors['model.embed_tokens.weight'].shape[0]
  return GgufModel(
    config=config,
    tensors=tensors,
    tokenizer={
      name.removeprefix('tokenizer.'): value
      for name, value in fields.items()
      if name.startswith('tokenizer.')
    },
  )


def _open(path: str) -> gguf.GGUFReader:
  try:
    return gguf.GGUFReader(path)
  except OSError as error:
    raise InputError(
      f'{path}: cannot be read: {error.strerror or error}.'
    ) from None
  # The reader checks nothing: what a truncated file raises depends on where it
  # ends.
  except (ValueError, IndexError, KeyError, TypeError) as error:
    raise InputError(
      f'{path}: not a GGUF file, or a truncated one ({error}). Download it '
      'again.'
    ) from None


def _config(
  path: str, fields: Mapping[str, Any]
) -> tuple[dict[str, Any], _Family]:
  """Returns the config.json, and the family."""
  architecture = fields.get('general.architecture')
  if architecture not in _FAMILIES:
    raise InputError(
      f'{path}: the architecture {architecture!r} is not supported in GGUF; '
      f'supported are {", ".join(_FAMILIES)}.'
      f"{nearest(str(architecture), _FAMILIES)} Use the model's folder in "
      "Hugging Face's format."
    )
  family = _FAMILIES[architecture]
  known = {**_FIELDS, **family.fields}
  own = {
    name.removeprefix(f'{architecture}.'): value
    for name, value in fields.items()
    if name.startswith(f'{architecture}.')
  }
  missing = [name for name in (*known, _EPSILON) if name not in own]
  if missing:
    raise InputError(
      f'{path}: the field {architecture}.{missing[0]} is missing. Download the '
      'file again.'
    )
  for name in known:
    if not isinstance(own[name], int):
      raise InputError(
        f'{path}: {architecture}.{name} is {own[name]!r:.60}; models whose '
        'layers differ are not supported.'
      )
  config = {theirs: own[name] for name, theirs in known.items()}
  head_dim = own.get(
    'attention.key_length',
    config['hidden_size'] // config['num_attention_heads'],
  )
  neutral = {**_NEUTRAL, **dict.fromkeys(_HEAD_DIMS, head_dim)}
  for name in sorted(own.keys() - {*known, _EPSILON, _BASE}):
    if name not in neutral or neutral[name] not in (None, own[name]):
      raise InputError(
        f'{path}: {architecture}.{name} is {own[name]!r:.60}, which may change '
        "answers and is not supported in GGUF. Use the model's folder in "
        "Hugging Face's format."
      )
  rope = {
    'rope_type': 'default',
    'rope_theta': _shortest(own.get(_BASE, 10_000.0)),
  }
  config |= {
    'model_type': family.model_type,
    'head_dim': head_dim,
    # Stored as float32: 1e-5 reads as 9.999999747378752e-06.
    'rms_norm_eps': _shortest(own[_EPSILON]),
    'rope_parameters': rope,
  }
  if architecture == 'gemma3':
    # As in llama.cpp, for all sizes but 27B, whose rotation is scaled.
    config['query_pre_attn_scalar'] = head_dim
    local = {**rope, 'rope_theta': 10_000.0}
    config['rope_parameters'] = {
      'full_attention': rope,
      'sliding_attention': local,
    }
  return config, family


def _shortest(value: float) -> float:
  """Returns the shortest decimal number that is the same in float32."""
  return float(str(np.float32(value)))


def _their_name(path: str, name: str, family: _Family) -> str:
  stem, _, ending = name.rpartition('.')
  if stem in _TENSORS:
    return f'{_TENSORS[stem]}.{ending}'
  parts = stem.split('.')
  of_layer = {**_LAYER_TENSORS, **family.layer_tensors}
  if len(parts) == 3 and parts[0] == 'blk' and parts[2] in of_layer:
    return f'model.layers.{parts[1]}.{of_layer[parts[2]]}.{ending}'
  raise InputError(
    f"{path}: unexpected tensor {name!r}. Use the model's folder in Hugging "
    "Face's format."
  )


def _lazy(
  path: str, tensor: gguf.ReaderTensor, *, heads: int | None, offset: float
) -> LazyArray:
  """Returns a tensor that is dequantised on every read.

  Args:
    path: Path of the file, for error messages.
    tensor: Tensor in the file.
    heads: Number of heads whose rows are permuted; None for none.
    offset: Number that the file adds to the values.
  """
  # GGUF lists the fastest dimension first.
  shape = tuple(int(size) for size in reversed(tensor.shape))
  kind = tensor.tensor_type
  try:
    gguf.dequantize(tensor.data[:1], kind)
  except NotImplementedError:
    raise InputError(
      f'{path}: {tensor.name} is quantised as {kind.name}, which is not '
      'supported. Use another quantisation, such as Q8_0 or F16.'
    ) from None

  def read() -> np.ndarray:
    values = gguf.dequantize(tensor.data, kind).reshape(shape)
    if heads is not None:
      values = _unpermuted(values, heads)
    values = values.astype(np.float32, copy=False)
    return values - np.float32(offset) if offset else values

  return LazyArray(shape=shape, dtype=np.dtype(np.float32), read=read)


def _unpermuted(values: np.ndarray, heads: int) -> np.ndarray:
  """Puts neighbouring pairs of each head's rows into halves.

  The inverse of `LlamaModel.permute` in llama.cpp's conversion script.
  """
  rows = values.reshape(heads, values.shape[0] // heads // 2, 2, -1)
  return rows.swapaxes(1, 2).reshape(values.shape)
