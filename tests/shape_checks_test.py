"""Tests that shape annotations are checked in tests, and only there."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import jaxtyping
import pytest

from it_study.models.cudnn_attention import SegmentCodes
from it_study.training import losses
from it_study.training.loss import division, terms


def test_an_argument_of_the_wrong_shape_is_an_error():
  with pytest.raises(
    jaxtyping.TypeCheckError, match=r"parameter 'targets'[^$]*T=3"
  ):
    losses.cross_entropy(
      hidden=jnp.zeros((2, 3, 4)),
      kernel=jnp.zeros((4, 5)),
      targets=jnp.zeros((2, 2), jnp.int32),
      weights=jnp.zeros((2, 3)),
    )


def test_shapes_are_checked_while_jax_traces():
  with pytest.raises(jaxtyping.TypeCheckError, match="parameter 'kernel'"):
    jax.eval_shape(
      lambda hidden, kernel: division.count_parts(
        hidden, kernel, {}, logits_bytes=1
      ),
      jax.ShapeDtypeStruct((2, 3, 4), 'float32'),
      jax.ShapeDtypeStruct((3, 5), 'float32'),
    )


def test_a_pytree_of_arrays_is_checked_but_not_one_of_shapes():
  query, key = jnp.zeros((2, 3, 8)), jnp.zeros((3, 3, 8))
  with pytest.raises(jaxtyping.TypeCheckError, match="parameter 'key'"):
    SegmentCodes(query=query, key=key)
  codes = SegmentCodes(query=query, key=query)
  assert jax.eval_shape(lambda: codes).key.shape == (2, 3, 8)


def test_users_run_undecorated_functions():
  script = (
    'import sys; from it_study.training.loss import terms; '
    "print('beartype' in sys.modules, hasattr(terms.logits, '__wrapped__'))"
  )
  process = subprocess.run(
    [sys.executable, '-c', script], capture_output=True, check=True, text=True
  )
  assert process.stdout == 'False False\n'
  assert hasattr(terms.logits, '__wrapped__')
