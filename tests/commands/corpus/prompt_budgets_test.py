"""Tests of it_study.commands.corpus.prompt_budgets."""

import pathlib

import fakes
import pytest

from it_study.conditions import PROMPT_TEMPLATES
from it_study.corpus import worker_pool

MODULE = """
from it_study.conditions import PROMPT_TEMPLATES
PROMPT_TEMPLATES.register('budgeted')
"""


@pytest.mark.parametrize(
  ('words', 'measuring'),
  [
    ((), None),
    (
      (
        '--module=budgeted_prompts',
        '--condition=budgeted_def_empty_ex_empty0',
      ),
      0,
    ),
  ],
)
def test_workers_are_not_asked_about_a_module(
  tmp_path, monkeypatch, request, words, measuring
):
  monkeypatch.chdir(tmp_path)
  monkeypatch.syspath_prepend(tmp_path)
  monkeypatch.setenv('IT_STUDY_VOCABULARY', 'byte')
  pathlib.Path('budgeted_prompts.py').write_text(MODULE)
  if words:
    request.addfinalizer(lambda: PROMPT_TEMPLATES.unregister('budgeted'))
  numbers = []
  real = worker_pool.map_tasks

  def map_tasks(function, *, num_workers, **more):
    numbers.append(num_workers)
    return real(function, num_workers=0, **more)

  monkeypatch.setattr(worker_pool, 'map_tasks', map_tasks)
  corpus = fakes.write_small_corpus('corpus')
  words = ('corpus', 'stats', corpus, '--split=test', '--quiet', *words)
  assert fakes.run_command(*words) == 0
  # Spelling does not depend on conditions.
  assert numbers == [measuring, None]
