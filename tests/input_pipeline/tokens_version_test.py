"""Golden test of the tokens that `preprocessors.TOKENS_VERSION` stands for."""

import hashlib

from it_study import seqio_lib
from it_study.corpus.miniature import benchmark as mini
from it_study.data import preprocessors, row_source, vocabularies
from it_study.input_pipeline import training_tokens

# Every level of both axes, every suffix that changes a prompt, Tk-Instruct's
# mixture, and the choice of instances and tasks.
_NAMES = (
  'natinst_def_original_ex_original2_n3',
  'natinst_def_simplified_ex_delusive1_neg1_expl_srcswap_n3',
  'natinst_def_empty_ex_empty0_n3_t9_s1',
  'natinst_def_shuffled_ex_delusive2_srcrepair_n3_s3',
  'natinst_def_renamed_ex_original1_trunctk_n3',
  'natinst_def_original_ex_delusive1_budget_srcnegatives_n3',
  'natinst_tk_instruct_n3_s2',
)
# Short enough that prompts and targets are truncated.
_LENGTHS = {'inputs': 400, 'targets': 8}


def test_tokens_change_with_their_version_only(tmp_path, monkeypatch):
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  seqio_lib.use_corpus(mini.write_miniature(tmp_path, size=mini.SMALL))
  fingerprint = row_source.SOURCE.metadata()['fingerprint']
  assert fingerprint[:16] == '5350fce1a4daae5b', 'the test corpus has changed'
  digest = hashlib.sha256()
  for name in _NAMES:
    for split in ('train', 'validation'):
      cache = training_tokens.training_tokens(
        mixture_or_task_name=name,
        task_feature_lengths=_LENGTHS,
        fallback_directory=tmp_path / 'run',
        split=split,
      )
      digest.update(cache.fingerprint.encode())
  assert (preprocessors.TOKENS_VERSION, digest.hexdigest()[:32]) == (
    1,
    '58f65b245e2df4abbfb96f13f7c69474',
  ), 'tokens have changed: raise TOKENS_VERSION and update this hash'
