"""Tests of it_study.commands.runs: what a training says while it is at it."""

from it_study import trainer
from it_study.commands import runs


def test_a_training_says_what_it_is_at(capsys):
  for phase, step, metrics in (
    ('tokenising', 9_000, {}),
    ('tokenising', 20_000, {}),
    ('compiling', 0, {}),
    ('training', 50, {'loss': 1.25}),
  ):
    runs._print_progress(
      trainer.Progress(
        phase=phase,
        step=step,
        train_steps=100,
        metrics=metrics,
        seconds_left=7.0,
      )
    )
  assert capsys.readouterr() == (
    '',
    'tokenising: 20,000 examples\nstep 50/100 loss 1.2500 7 s left\n',
  )
