"""How a row of a batch holds its examples: one layout per kind of model."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

Features = Mapping[str, np.ndarray]


class RowLayout(Protocol):
  """What a feed asks of a layout; features are `[rows, length]` by name."""

  @property
  def name(self) -> str:
    """Name in a feed's metadata; empty for the encoder-decoder's."""

  def room(self, lengths: Mapping[str, int]) -> dict[str, int]:
    """Returns the tokens that fit each part of a row, for `plan_rows`.

    Args:
      lengths: Maximum lengths of 'inputs' and 'targets' in tokens.
    """

  def taken(self, lengths: Features) -> dict[str, np.ndarray]:
    """Returns the tokens that each example takes of each part of a row.

    Args:
      lengths: Tokens of every example's 'inputs' and 'targets', int64
        [num_examples].
    """

  def shapes(
    self, lengths: Mapping[str, int], *, pack: bool
  ) -> dict[str, tuple[int, str]]:
    """Returns the length and type of every feature of a row."""

  def fill(self, row: Features, examples: Sequence[Features]) -> None:
    """Writes examples, 'inputs' and 'targets' of each, into a row of zeros."""

  def count_tokens(self, batch: Features) -> int:
    """Returns the number of input and target tokens, without padding."""


class EncoderDecoderRows:
  """Inputs beside targets, as T5X's encoder-decoder converter lays them out.

    inputs [[7, 8, 1], [9, 1]], targets [[3, 1], [4, 1]], packed to 6 and 4:
    encoder_input_tokens   7 8 1 9 1 0     decoder_target_tokens  3 1 4 1
    encoder_segment_ids    1 1 1 2 2 0     decoder_input_tokens   0 3 0 4
    encoder_positions      0 1 2 0 1 0     decoder_segment_ids    1 1 2 2
                                           decoder_positions      0 1 0 1
                                           decoder_loss_weights   1 1 1 1

  Segment ids and positions are present only with packing.
  """

  name = ''

  def room(self, lengths: Mapping[str, int]) -> dict[str, int]:
    return dict(lengths)

  def taken(self, lengths: Features) -> dict[str, np.ndarray]:
    return dict(lengths)

  def shapes(
    self, lengths: Mapping[str, int], *, pack: bool
  ) -> dict[str, tuple[int, str]]:
    inputs, targets = lengths['inputs'], lengths['targets']
    features = {
      'encoder_input_tokens': (inputs, 'int32'),
      'decoder_input_tokens': (targets, 'int32'),
      'decoder_target_tokens': (targets, 'int32'),
      'decoder_loss_weights': (targets, 'float32'),
    }
    if pack:
      for side, length in (('encoder', inputs), ('decoder', targets)):
        for kind in ('segment_ids', 'positions'):
          features[f'{side}_{kind}'] = (length, 'int32')
    return features

  def fill(self, row: Features, examples: Sequence[Features]) -> None:
    ends = {'encoder': 0, 'decoder': 0}
    for segment, example in enumerate(examples, start=1):
      for side, name in (('encoder', 'inputs'), ('decoder', 'targets')):
        tokens = example[name]
        start = ends[side]
        ends[side] = end = start + len(tokens)
        if side == 'encoder':
          row['encoder_input_tokens'][start:end] = tokens
        else:
          row['decoder_target_tokens'][start:end] = tokens
          row['decoder_input_tokens'][start + 1 : end] = tokens[:-1]
          row['decoder_loss_weights'][start:end] = 1
        if f'{side}_segment_ids' in row:
          row[f'{side}_segment_ids'][start:end] = segment
          row[f'{side}_positions'][start:end] = np.arange(len(tokens))

  def count_tokens(self, batch: Features) -> int:
    return int(np.count_nonzero(batch['encoder_input_tokens'])) + int(
      np.count_nonzero(batch['decoder_loss_weights'])
    )


class DecoderRows:
  """Inputs, then targets, as one text whose every token predicts the next.

  The loss counts the tokens of the targets only. The last token of a text is
  not read, since nothing follows it:

    inputs [[7, 8], [9]], targets [[3, 1], [4, 1]], packed to 7:
    decoder_input_tokens   7 8 3 9 4 0 0
    decoder_target_tokens  8 3 1 4 1 0 0
    decoder_loss_weights   0 1 1 1 1 0 0
    decoder_segment_ids    1 1 1 2 2 0 0
    decoder_positions      0 1 2 0 1 0 0

  A row has room for the maximum lengths of inputs and targets together. 0 pads
  all features, and is also a token's id: segment ids tell the two apart.
  """

  name = 'decoder'

  def room(self, lengths: Mapping[str, int]) -> dict[str, int]:
    return {'inputs': sum(lengths.values()), 'targets': 0}

  def taken(self, lengths: Features) -> dict[str, np.ndarray]:
    tokens = lengths['inputs'] + lengths['targets'] - 1
    return {'inputs': tokens, 'targets': np.zeros_like(tokens)}

  def shapes(
    self, lengths: Mapping[str, int], *, pack: bool
  ) -> dict[str, tuple[int, str]]:
    del pack
    length = sum(lengths.values())
    return {
      'decoder_input_tokens': (length, 'int32'),
      'decoder_target_tokens': (length, 'int32'),
      'decoder_loss_weights': (length, 'float32'),
      'decoder_segment_ids': (length, 'int32'),
      'decoder_positions': (length, 'int32'),
    }

  def fill(self, row: Features, examples: Sequence[Features]) -> None:
    end = 0
    for segment, example in enumerate(examples, start=1):
      text = np.concatenate([example['inputs'], example['targets']])
      start, end = end, end + len(text) - 1
      row['decoder_input_tokens'][start:end] = text[:-1]
      row['decoder_target_tokens'][start:end] = text[1:]
      row['decoder_loss_weights'][end - len(example['targets']) : end] = 1
      row['decoder_segment_ids'][start:end] = segment
      row['decoder_positions'][start:end] = np.arange(end - start)

  def count_tokens(self, batch: Features) -> int:
    is_token = batch['decoder_segment_ids'] > 0
    # Of every text one token is only a target.
    is_first = is_token & (batch['decoder_positions'] == 0)
    return int(np.count_nonzero(is_token) + np.count_nonzero(is_first))


ENCODER_DECODER = EncoderDecoderRows()
DECODER = DecoderRows()
