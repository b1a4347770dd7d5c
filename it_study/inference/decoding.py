"""How an answer is made from a prompt: the method and what it is set to."""

import dataclasses
import math

from it_study.errors import InputError, nearest
from it_study.inference import beam

# Rows without a label space are decoded freely, whatever the method: with beams
# in 'constrained_beam', else greedily.
METHODS = (
  'greedy',
  'beam',
  'sample',
  'constrained',
  'constrained_beam',
  'ranked',
  'ranked_normalized',
  'ranked_conditional',
)
# What each setting is called in gin, and the methods that read it.
_BEAMS = ('beam', 'constrained_beam')
_SETTINGS = {
  'num_beams': ('NUM_BEAMS', _BEAMS),
  'beam_style': ('BEAM_STYLE', _BEAMS),
  'length_alpha': ('LENGTH_ALPHA', _BEAMS),
  'temperature': ('TEMPERATURE', ('sample',)),
  'top_k': ('TOP_K', ('sample',)),
  'top_p': ('TOP_P', ('sample',)),
  'seed': ('SAMPLING_SEED', ('sample',)),
}
_BELOW_ZERO = math.nextafter(0, -1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decoding:
  """A method of decoding.

  Attributes:
    method: 'greedy', 'beam' or 'sample'; or, where there is a label space,
      'constrained' to it, greedily or by 'constrained_beam'; or its labels
      'ranked' by log-likelihood, 'ranked_normalized' by that over the number of
      tokens, 'ranked_conditional' by what the prompt adds to it.
    num_beams: of beam search.
    beam_style: whose beam search, of `beam.STYLES`.
    length_alpha: of beam search, from 0 up; see `beam.beam_decode`.
    temperature: of sampling, above 0; see `sampling.Sampling` for these three.
    top_k: of sampling; 0 for no limit.
    top_p: of sampling, up to 1.
    seed: of sampling. What a prompt draws follows from it and the prompt alone.

  Raises:
    InputError: for a method that there is not, or a value out of range.
  """

  method: str = 'greedy'
  num_beams: int = 4
  beam_style: str = 't5x'
  length_alpha: float = 0.6
  temperature: float = 1.0
  top_k: int = 0
  top_p: float = 1.0
  seed: int = 0

  def __post_init__(self):
    if self.method not in METHODS:
      raise InputError(
        f'DECODING is {self.method!r}; there are {", ".join(METHODS)}.'
        f'{nearest(str(self.method), METHODS)}'
      )
    if self.beam_style not in beam.STYLES:
      raise InputError(
        f'BEAM_STYLE is {self.beam_style!r}; there are '
        f'{", ".join(beam.STYLES)}.{nearest(str(self.beam_style), beam.STYLES)}'
      )
    _check('num_beams', self.num_beams, 'a whole number from 1 up', low=1)
    _check('top_k', self.top_k, 'a whole number from 0 up, 0 no limit', low=0)
    _check('seed', self.seed, 'a whole number from 0 up', low=0)
    for name, allowed, low, high in (
      # Below 0 the bound by which a search ends early would not hold.
      ('length_alpha', 'a number from 0 up', _BELOW_ZERO, math.inf),
      ('temperature', 'a number above 0', 0.0, math.inf),
      ('top_p', 'a number above 0, 1 at most', 0.0, math.nextafter(1, 2)),
    ):
      value = getattr(self, name)
      is_number = isinstance(value, int | float) and not isinstance(value, bool)
      if not is_number or not low < value < high:
        _refuse(name, value, allowed)

  @property
  def is_ranked(self) -> bool:
    return self.method.startswith('ranked')

  @property
  def is_constrained(self) -> bool:
    return self.method.startswith('constrained')

  @property
  def free_method(self) -> str:
    """How rows without a label space are decoded."""
    if self.method == 'constrained_beam':
      return 'beam'
    if self.is_constrained or self.is_ranked:
      return 'greedy'
    return self.method

  def settings(self, method: str) -> dict[str, object]:
    """The settings that a method reads, by name."""
    return {
      name: getattr(self, name)
      for name, (_, methods) in _SETTINGS.items()
      if method in methods
    }


def _check(name: str, value: object, allowed: str, *, low: int) -> None:
  if not isinstance(value, int) or isinstance(value, bool) or value < low:
    _refuse(name, value, allowed)


def _refuse(name: str, value: object, allowed: str) -> None:
  raise InputError(f'{_SETTINGS[name][0]} is {value!r}; allowed is {allowed}.')
