"""Tests of it_study.training.profiling."""

import jax.numpy as jnp
import pytest

from it_study.errors import InputError
from it_study.training.profiling import StepTrace


def _run(folder, steps, start=1):
  trace = StepTrace(folder, steps=steps)
  for step in range(start, 6):
    trace.before(step)
    trace.after(step, jnp.zeros(2) + step)
  trace.close()
  return [path.name for path in folder.rglob('*.xplane.pb')]


@pytest.mark.parametrize(
  ('steps', 'start', 'traces'),
  [
    ((2, 3), 1, 1),
    ((4, 9), 1, 1),
    ((2, 5), 4, 1),
    ((2, 3), 4, 0),
    (None, 1, 0),
  ],
)
def test_a_range_of_steps_is_traced(tmp_path, steps, start, traces):
  assert len(_run(tmp_path, steps, start)) == traces


@pytest.mark.parametrize('steps', [3, (2,), (0, 2), (3, 2), ('1', '2')])
def test_an_invalid_range_is_refused(tmp_path, steps):
  with pytest.raises(InputError, match=r'PROFILE_STEPS is .*: give the first'):
    StepTrace(tmp_path, steps=steps)
