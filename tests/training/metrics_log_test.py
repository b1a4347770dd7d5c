"""Tests of it_study.training.metrics_log."""

import json

import numpy as np
import pytest

from it_study.training import metrics_log
from it_study.training.metrics_log import MetricsLog


def metrics(loss, num_target_tokens, gradient_norm=1.0):
  values = {
    'loss': loss,
    'z_loss': 0.0,
    'accuracy': 0.5,
    'num_target_tokens': num_target_tokens,
    'gradient_norm': gradient_norm,
    'learning_rate': 0.25,
  }
  return {name: np.float32(value) for name, value in values.items()}


def test_a_line_is_the_mean_over_tokens(tmp_path):
  path = tmp_path / 'metrics.jsonl'
  log = MetricsLog(path, start=0)
  log.restart_clock(compile_seconds=2.5)
  log.add(metrics(4.0, 1, gradient_norm=3.0), num_tokens=10)
  log.add(metrics(2.0, 3), num_tokens=30)
  written = log.write(2)
  log.add(metrics(1.0, 2), num_tokens=20)
  log.write(3)
  first, second = map(json.loads, path.read_text().splitlines())
  assert first == written
  seconds = first.pop('seconds')
  assert seconds > 0
  assert first.pop('tokens_per_second') == pytest.approx(40 / seconds)
  assert first == {
    'step': 2,
    'steps': 2,
    'loss': 2.5,
    'z_loss': 0.0,
    'accuracy': 0.5,
    'num_target_tokens': 4,
    'gradient_norm': 2.0,
    'learning_rate': 0.25,
    'compile_seconds': 2.5,
  }
  assert second['loss'] == 1.0
  assert 'compile_seconds' not in second


def test_lines_after_the_restored_step_are_dropped(tmp_path):
  path = tmp_path / 'metrics.jsonl'
  lines = ['{"step": 1}', '{"step": 2}', '{"step": 3}', '{"step": 4, "lo']
  path.write_text('\n'.join(lines))
  MetricsLog(path, start=2)
  assert path.read_text() == '{"step": 1}\n{"step": 2}\n'
  MetricsLog(path, start=0)
  assert path.read_text() == ''


def test_lost_lines_are_said(tmp_path, caplog):
  path = tmp_path / 'metrics.jsonl'
  lines = [
    f'{{"step": {step}, "steps": 2, "seconds": 1.5}}\n' for step in (2, 4, 6)
  ]
  path.write_text(''.join(lines) + '{"step": 8, "st')
  metrics_log.drop_lines_after(path, 6)
  assert not caplog.messages
  path.write_bytes(b'{"step": 2}\n\0\0\xff\n[4]\n' + lines[2].encode())
  assert metrics_log.total_seconds(path) == 1.5
  metrics_log.drop_lines_after(path, 6)
  assert caplog.messages == [
    f'{path} is incomplete: it lacks 4 of 6 steps. The loss curve and '
    'train_seconds leave them out.'
  ]
  assert path.read_text() == '{"step": 2}\n' + lines[2]
  path.unlink()
  metrics_log.drop_lines_after(path, 6)
  assert 'lacks 6 of 6 steps' in caplog.messages[-1]
  assert metrics_log.total_seconds(path) == 0.0


@pytest.mark.parametrize(
  ('bad', 'message'),
  [
    (metrics(float('nan'), 1), 'loss is nan at step 6'),
    (metrics(float('inf'), 1), 'loss is inf at step 6'),
    (metrics(1.0, 1, float('inf')), 'gradient norm is inf at step 6'),
  ],
)
def test_the_first_step_that_is_not_finite_is_named(tmp_path, bad, message):
  log = MetricsLog(tmp_path / 'metrics.jsonl', start=4)
  for step_metrics in (metrics(1.0, 1), bad, metrics(float('nan'), 1)):
    log.add(step_metrics, num_tokens=1)
  with pytest.raises(FloatingPointError, match=message):
    log.write(7)
  assert not (tmp_path / 'metrics.jsonl').exists()


def test_seconds_are_summed_over_restarts(tmp_path):
  path = tmp_path / 'metrics.jsonl'
  path.write_text('{"step": 1, "seconds": 1.5}\n{"step": 2, "seconds": 2.0}\n')
  assert metrics_log.total_seconds(path) == 3.5


def test_utilization_is_a_share_of_the_peak(tmp_path):
  path = tmp_path / 'metrics.jsonl'
  log = MetricsLog(path, start=0, step_flops=6e9, peak_flops=2e12)
  for _ in range(2):
    log.add(metrics(1.0, 1), num_tokens=1)
  line = log.write(2)
  assert line['model_flops_utilization'] == pytest.approx(
    12e9 / line['seconds'] / 2e12
  )


def test_tensorboard_gets_the_numbers_of_the_lines(tmp_path):
  from tensorboard.backend.event_processing import event_accumulator
  from tensorboard.util import tensor_util

  log = MetricsLog(tmp_path / 'metrics.jsonl', start=0, events=True)
  for step in (1, 2):
    log.add(metrics(4.0 / step, 1), num_tokens=1)
    log.write(step)
  events = event_accumulator.EventAccumulator(str(tmp_path / 'events'))
  events.Reload()
  losses = [
    (event.step, float(tensor_util.make_ndarray(event.tensor_proto)))
    for event in events.Tensors('loss')
  ]
  assert losses == [(1, 4.0), (2, 2.0)]
