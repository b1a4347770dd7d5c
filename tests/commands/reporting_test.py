"""Tests of it_study.commands.reporting."""

import fakes
import pytest
from report_fixture import DEFINITIONS, make_study


@pytest.mark.parametrize(
  ('name', 'note'),
  [
    (
      'mine_def_original_ex_original2',
      'it-study: note: 1 condition not compared, because the name is unknown: '
      "condition 'mine_def_original_ex_original2': prompt prefix 'mine' is "
      'unknown; available: natinst. Name the module that registers it: '
      '--module or MIXTURE_OR_TASK_MODULE.\n',
    ),
    (DEFINITIONS[1], ''),
  ],
)
def test_report_says_which_conditions_it_does_not_know(
  tmp_path, capsys, name, note
):
  make_study(tmp_path, accuracies={DEFINITIONS[0]: 0.5, name: 0.5})
  assert fakes.run_command('report', tmp_path) == 0
  err = capsys.readouterr().err
  assert err.endswith(note)
  assert ('note' in err) == bool(note)
