"""Tests of it_study.engines.t5x.model that need no T5X."""

import fakes
import pytest
import seqio

from it_study.engines.t5x import model
from it_study.errors import InputError


def test_a_size_that_the_network_of_t5x_fixes_is_refused():
  make = fakes.tiny_model(relative_attention_num_buckets=16)
  with pytest.raises(InputError) as caught:
    model.make_model(make(vocab_size=128), vocabulary=seqio.ByteVocabulary())
  assert str(caught.value) == (
    "T5Config.relative_attention_num_buckets is 16, but the engine 't5x' has "
    '32. Leave it out, or use the native engine.'
  )
