"""Tests of decoder-only models with T5X, compared with the native engine."""

import json
import pathlib
import shutil

from decoder_runs_fixture import (
  SHORT,
  _corpus,  # noqa: F401
  _here,  # noqa: F401
  _model,  # noqa: F401
  predict,
  rows,
  train,
)
from engines_t5x_fixture import lines, needs_t5x
import fakes
import gguf_files
import numpy as np
import pytest

from it_study import cli

_T5X = '--engine=t5x'
_EVERY_STEP = '--gin.LOG_PERIOD=1'


class TestWithT5X:
  pytestmark = needs_t5x

  @pytest.fixture(name='both', scope='class')
  def _both(self, model, corpus, tmp_path_factory):
    """A folder with trainings `native` and `t5x` from the same weights."""
    root = tmp_path_factory.mktemp('both')
    with pytest.MonkeyPatch.context() as patch:
      patch.chdir(root)
      patch.setenv('IT_STUDY_VOCABULARY', '')
      pathlib.Path('tiny.gin').write_text(gguf_files.GIN)
      for engine in ('native', 't5x'):
        status = train(
          corpus,
          f'--engine={engine}',
          f'--gin.INITIAL_CHECKPOINT_PATH={model}',
          _EVERY_STEP,
          '--gin.EVAL_PERIOD=3',
          '--gin.CHECKPOINT_PERIOD=3',
          # Losses of a model that jumps about differ by more than rounding.
          '--gin.LEARNING_RATE=1e-3',
          out=engine,
          steps=6,
        )
        assert status == 0
    return root

  def test_both_engines_have_the_same_losses(self, both):
    ours, theirs = lines(both / 'native'), lines(both / 't5x')
    assert [line['step'] for line in theirs] == list(range(1, 7))
    for name in ('loss', 'accuracy', 'gradient_norm', 'z_loss'):
      np.testing.assert_allclose(
        [line[name] for line in theirs],
        [line[name] for line in ours],
        rtol=1e-5,
      )
    assert ours[0]['loss'] > 1.0
    for name in ('validation_loss', 'validation_accuracy'):
      expected = [line[name] for line in ours if name in line]
      assert len(expected) == 2
      found = [line[name] for line in theirs if name in line]
      np.testing.assert_allclose(found, expected, rtol=1e-5)

  @pytest.mark.parametrize('checkpoint', ['t5x', 'native'])
  @pytest.mark.parametrize('method', ['greedy', 'ranked', 'ranked_conditional'])
  def test_both_engines_answer_the_same(self, both, corpus, method, checkpoint):
    for engine in ('native', 't5x'):
      status = predict(
        both / checkpoint,
        corpus,
        f'--engine={engine}',
        f'--gin.DECODING={method}',
        '--gin.INFER_BATCH_SIZE=32',
        condition=SHORT,
        out=engine,
      )
      assert status == 0
    assert len(rows('t5x')) == fakes.NUM_ROWS['test']
    for ours, theirs in zip(rows('native'), rows('t5x'), strict=True):
      assert theirs['engine'] == 't5x'
      scores = ours.pop('scores', None), theirs.pop('scores', None)
      assert {**theirs, 'engine': 'native'} == ours
      assert scores[1] == pytest.approx(scores[0], abs=1e-4)
    assert any(row['prediction'] for row in rows('t5x'))

  def test_a_checkpoint_of_t5x_is_converted(self, both, corpus):
    words = ('--from', 't5x', '--to', 'hf', '--quiet')
    assert cli.main(['convert', str(both / 't5x'), 'hf', *words]) == 0
    for path, out in ((both / 't5x', 'before'), ('hf', 'after')):
      assert predict(path, corpus, condition=SHORT, out=out) == 0
    answers = [
      [row['prediction'] for row in rows(out)] for out in ('before', 'after')
    ]
    assert answers[0] == answers[1]

  def test_a_turn_ends_by_any_token_of_generation_config(
    self, model, corpus, tmp_path, capsys
  ):
    copy = shutil.copytree(model, tmp_path / 'hf')
    ends = {'eos_token_id': [*range(2, gguf_files.VOCAB, 3)]}
    (copy / 'generation_config.json').write_text(json.dumps(ends))
    for engine in ('native', 't5x'):
      word = f'--engine={engine}'
      assert predict(copy, corpus, word, condition=SHORT, out=engine) == 0
    answers = [
      [row['prediction'] for row in rows(engine)]
      for engine in ('native', 't5x')
    ]
    assert answers[0] == answers[1]
    capsys.readouterr()
    ranked = '--gin.DECODING=ranked'
    assert predict(copy, corpus, _T5X, ranked, condition=SHORT) == 2
    assert capsys.readouterr().err == (
      "it-study: DECODING is 'ranked', and an answer ends by any of 87 tokens: "
      'T5X scores labels that end by one token alone. Predict with --engine '
      'native, which reads the same checkpoints.\n'
    )

  def test_lora_is_refused(self, model, corpus, capsys):
    status = train(
      corpus,
      _T5X,
      '--gin_file=runs/lora.gin',
      f'--gin.INITIAL_CHECKPOINT_PATH={model}',
    )
    assert status == 2
    assert capsys.readouterr().err == (
      "it-study: LORA_RANK is set, which the engine 't5x' does not support. "
      'Leave it out, or use the native engine.\n'
    )

  @pytest.mark.parametrize('method', ['beam', 'sample', 'constrained'])
  def test_other_decodings_are_refused(self, model, corpus, method, capsys):
    capsys.readouterr()
    word = f'--gin.DECODING={method}'
    assert predict(model, corpus, _T5X, word, condition=SHORT) == 2
    assert capsys.readouterr().err == (
      f"it-study: DECODING is '{method}': for decoder-only models the engine "
      "'t5x' supports greedy and ranked decoding. Predict with --engine "
      'native, which reads the same checkpoints.\n'
    )
