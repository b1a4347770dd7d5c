"""Maps rotary embeddings to the fields of Hugging Face's config.json."""

from collections.abc import Collection, Mapping
from typing import Any

from it_study.models.decoder_only.config import DecoderConfig, Rope

_SCALING_FIELDS = {
  'factor': 'factor',
  'low_freq_factor': 'low_frequency_factor',
  'high_freq_factor': 'high_frequency_factor',
  'original_max_position_embeddings': 'original_length',
}
_SCALING_NAMES = {'default': 'none', 'linear': 'linear', 'llama3': 'llama3'}
# Fields that a scaling reads, all of them needed.
_NEEDED = {
  'default': (),
  'linear': ('factor',),
  'llama3': tuple(_SCALING_FIELDS),
}


def read_ropes(fields: Mapping[str, Any]) -> dict[str, Rope]:
  """Returns `rope`, and `local_rope` where layers with a window differ.

  transformers 5 keeps all of it in rope_parameters, earlier ones in rope_theta,
  rope_scaling and rope_local_base_freq. Of a file that has several of them,
  transformers 5 takes rope_scaling before rope_parameters, and rope_theta for
  the base that neither has.
  """
  scaling = fields.get('rope_scaling') or {}
  settings = fields.get('rope_parameters') or {}
  length = fields.get('max_position_embeddings')
  base = fields.get('rope_theta', 10_000.0)
  if fields['model_type'] != 'gemma3_text':
    return {'rope': _rope(scaling or settings, base=base, length=length)}
  _check_known(settings, ('full_attention', 'sliding_attention'))
  full, local = (
    settings.get(name) or {} for name in ('full_attention', 'sliding_attention')
  )
  local_base = fields.get('rope_local_base_freq', 10_000.0)
  return {
    'rope': _rope({**full, **scaling}, base=base, length=length),
    'local_rope': _rope(local, base=local_base, length=length),
  }


def _rope(
  settings: Mapping[str, Any], *, base: float, length: int | None
) -> Rope:
  """Returns a rotary embedding.

  Args:
    settings: Fields of rope_parameters or rope_scaling.
    base: Base of the frequencies, unless the settings have one.
    length: Maximum length of a text in tokens, the default of
      original_max_position_embeddings; None if it is not known.
  """
  settings = dict(settings)
  base = settings.pop('rope_theta', base)
  old_name = settings.pop('type', 'default')
  scaling = settings.pop('rope_type', old_name)
  if scaling not in [*_SCALING_NAMES]:
    raise ValueError(
      f'rope_type must be one of {", ".join(_SCALING_NAMES)}, got {scaling!r}'
    )
  _check_known(settings, _SCALING_FIELDS)
  if length is not None:
    settings.setdefault('original_max_position_embeddings', length)
  needed = _NEEDED[scaling]
  for name in needed:
    if settings.get(name) is None:
      raise ValueError(f'rope_type {scaling!r} needs {name}, which is missing')
  return Rope(
    base=base,
    scaling=_SCALING_NAMES[scaling],
    **{_SCALING_FIELDS[name]: settings[name] for name in needed},
  )


def _check_known(settings: Mapping[str, Any], known: Collection[str]) -> None:
  unknown = settings.keys() - {*known}
  if unknown:
    raise ValueError(f'rope_parameters has an unknown field {min(unknown)!r}')


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
