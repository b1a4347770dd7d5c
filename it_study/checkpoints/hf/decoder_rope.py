"""Maps rotary embeddings to the fields of Hugging Face's config.json."""

from collections.abc import Mapping
from typing import Any

from it_study.models.decoder_only.config import DecoderConfig, Rope

_SCALING_FIELDS = {
  'factor': 'factor',
  'low_freq_factor': 'low_frequency_factor',
  'high_freq_factor': 'high_frequency_factor',
  'original_max_position_embeddings': 'original_length',
}
_SCALING_NAMES = {'default': 'none', 'linear': 'linear', 'llama3': 'llama3'}


def read_ropes(fields: Mapping[str, Any]) -> dict[str, Rope]:
  """Returns `rope`, and `local_rope` where layers with a window differ.

  transformers 5 keeps all of it in rope_parameters, earlier ones in rope_theta,
  rope_scaling and rope_local_base_freq.
  """
  settings = fields.get('rope_parameters')
  if settings is None:
    scaling = fields.get('rope_scaling') or {}
    settings = {'rope_theta': fields.get('rope_theta', 10_000.0), **scaling}
    if fields['model_type'] == 'gemma3_text':
      local = {'rope_theta': fields.get('rope_local_base_freq', 10_000.0)}
      settings = {'full_attention': settings, 'sliding_attention': local}
  if 'full_attention' not in settings:
    return {'rope': _rope(settings)}
  return {
    'rope': _rope(settings['full_attention']),
    'local_rope': _rope(settings['sliding_attention']),
  }


def _rope(settings: Mapping[str, Any]) -> Rope:
  settings = dict(settings)
  base = settings.pop('rope_theta', 10_000.0)
  scaling = settings.pop('rope_type', settings.pop('type', 'default'))
  settings.pop('type', None)
  if scaling not in _SCALING_NAMES:
    raise ValueError(
      f'rope_type must be one of {", ".join(_SCALING_NAMES)}, got {scaling!r}'
    )
  unknown = settings.keys() - _SCALING_FIELDS.keys()
  if unknown:
    raise ValueError(f'rope_parameters has an unknown field {min(unknown)!r}')
  return Rope(
    base=float(base),
    scaling=_SCALING_NAMES[scaling],
    **{_SCALING_FIELDS[name]: value for name, value in settings.items()}
    if scaling != 'default'
    else {},
  )


def write_ropes(config: DecoderConfig) -> dict[str, Any]:
  """Returns the rope_parameters of a config.json of transformers 5."""
  if config.local_rope is None:
    return _rope_settings(config.rope)
  return {
    'full_attention': _rope_settings(config.rope),
    'sliding_attention': _rope_settings(config.local_rope),
  }


def _rope_settings(rope: Rope) -> dict[str, Any]:
  names = {ours: theirs for theirs, ours in _SCALING_NAMES.items()}
  settings: dict[str, Any] = {
    'rope_type': names[rope.scaling],
    'rope_theta': rope.base,
  }
  if rope.scaling == 'linear':
    settings['factor'] = rope.factor
  elif rope.scaling == 'llama3':
    settings |= {
      theirs: getattr(rope, ours) for theirs, ours in _SCALING_FIELDS.items()
    }
  return settings
