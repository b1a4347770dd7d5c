"""The decoding method and its settings."""

import dataclasses
import math

from it_study.errors import InputError, nearest
from it_study.inference import beam

# Rows without a label space are decoded without restriction by every method: by
# beam search in 'constrained_beam', otherwise greedily.
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
# Name of each setting in gin, and the methods that read it.
_BEAMS = ('beam', 'constrained_beam')
SETTINGS = {
  'num_beams': ('NUM_BEAMS', _BEAMS),
  'beam_style': ('BEAM_STYLE', _BEAMS),
  'length_alpha': ('LENGTH_ALPHA', _BEAMS),
  'temperature': ('TEMPERATURE', ('sample',)),
  'top_k': ('TOP_K', ('sample',)),
  'top_p': ('TOP_P', ('sample',)),
  'seed': ('SAMPLING_SEED', ('sample',)),
}
# XLA counts the continuations of all beams, each with every token, in 32 bits.
_MAX_BEAMS = 10_000
# What to do about a task with a label that the vocabulary cannot spell.
UNSPELLABLE = ('refuse', 'free', 'match')
_BELOW_ZERO = math.nextafter(0, -1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decoding:
  """A method of decoding and its settings.

  Attributes:
    method: 'greedy', 'beam' or 'sample'; or, for rows with a label space:
      'constrained' (greedy within the label space), 'constrained_beam' (beam
      search within it), 'ranked' (its labels ranked by log-likelihood),
      'ranked_normalized' (by log-likelihood per token) or 'ranked_conditional'
      (by how much the prompt adds to the log-likelihood).
    num_beams: Number of beams in beam search.
    beam_style: Style of beam search, one of `beam.STYLES`.
    length_alpha: Exponent of beam search's length penalty, at least 0; see
      `beam.beam_decode`.
    temperature: Temperature of sampling, above 0; see `sampling.Sampling`.
    top_k: Number of tokens to sample from; 0 for no limit.
    top_p: Probability of the tokens to sample from, above 0 and at most 1.
    seed: Seed of sampling. Draws depend only on the seed and the prompt.
    unspellable_labels: What to do about labels that the vocabulary cannot
      spell, where labels are decoded or ranked: 'refuse', 'free' (answer the
      tasks that have one without restriction) or 'match' (take the tokens that
      such a label is encoded as for the label).

  Raises:
    InputError: If the method is unknown or a value is out of range.
  """

  method: str = 'greedy'
  num_beams: int = 4
  beam_style: str = 't5x'
  length_alpha: float = 0.6
  temperature: float = 1.0
  top_k: int = 0
  top_p: float = 1.0
  seed: int = 0
  unspellable_labels: str = 'refuse'

  def __post_init__(self):
    if self.method not in METHODS:
      raise InputError(
        f'DECODING is {self.method!r}; expected one of {", ".join(METHODS)}.'
        f'{nearest(str(self.method), METHODS)}'
      )
    if self.beam_style not in beam.STYLES:
      raise InputError(
        f'BEAM_STYLE is {self.beam_style!r}; expected one of '
        f'{", ".join(beam.STYLES)}.{nearest(str(self.beam_style), beam.STYLES)}'
      )
    if self.unspellable_labels not in UNSPELLABLE:
      raise InputError(
        f'UNSPELLABLE_LABELS is {self.unspellable_labels!r}; expected one of '
        f'{", ".join(UNSPELLABLE)}.'
        f'{nearest(str(self.unspellable_labels), UNSPELLABLE)}'
      )
    _check(
      'num_beams',
      self.num_beams,
      f'an integer from 1 to {_MAX_BEAMS}',
      low=1,
      high=_MAX_BEAMS,
    )
    _check('top_k', self.top_k, 'an integer of at least 0', low=0)
    _check('seed', self.seed, 'an integer of at least 0', low=0)
    for name, allowed, low, high in (
      # Below 0 the bound for ending a search early would not hold.
      ('length_alpha', 'a number of at least 0', _BELOW_ZERO, math.inf),
      ('temperature', 'a number above 0', 0.0, math.inf),
      ('top_p', 'a number above 0 and at most 1', 0.0, math.nextafter(1, 2)),
    ):
      value = getattr(self, name)
      is_number = isinstance(value, int | float) and not isinstance(value, bool)
      if not is_number or not low < value < high:
        _refuse(name, value, allowed)

  @property
  def is_ranked(self) -> bool:
    """Whether labels are ranked by their log-likelihood."""
    return self.method.startswith('ranked')

  @property
  def is_constrained(self) -> bool:
    """Whether decoding is restricted to label spaces."""
    return self.method.startswith('constrained')

  @property
  def free_method(self) -> str:
    """The method for rows without a label space."""
    if self.method == 'constrained_beam':
      return 'beam'
    if self.is_constrained or self.is_ranked:
      return 'greedy'
    return self.method

  def settings(self, method: str) -> dict[str, object]:
    """Returns the settings that a method reads, by name."""
    return {
      name: getattr(self, name)
      for name, (_, methods) in SETTINGS.items()
      if method in methods
    }


def _check(
  name: str, value: object, allowed: str, *, low: int, high: float = math.inf
) -> None:
  if (
    not isinstance(value, int)
    or isinstance(value, bool)
    or not low <= value <= high
  ):
    _refuse(name, value, allowed)


def _refuse(name: str, value: object, allowed: str) -> None:
  raise InputError(f'{SETTINGS[name][0]} is {value!r}; expected {allowed}.')
