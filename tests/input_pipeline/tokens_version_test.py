"""Golden test of the tokens that `preprocessors.TOKENS_VERSION` stands for."""

import hashlib

import pytest

from it_study import seqio_lib
from it_study.corpus.miniature import benchmark as mini
from it_study.data import preprocessors, row_source, vocabularies
from it_study.input_pipeline import training_tokens

# The paper's levels and two more, most suffixes that change a prompt,
# Tk-Instruct's mixture, and the choice of instances and tasks.
_NAMES = (
  'natinst_def_original_ex_original2_n3',
  'natinst_def_simplified_ex_delusive1_neg1_expl_srcswap_n3',
  'natinst_def_empty_ex_empty0_n3_t9_s1',
  'natinst_def_shuffled_ex_delusive2_srcrepair_n3_s3',
  'natinst_def_renamed_ex_original1_trunctk_n3',
  'natinst_def_original_ex_delusive1_budget_srcnegatives_n3',
  'natinst_tk_instruct_n3_s2',
)
# The other levels and suffixes.
_FURTHER_NAMES = (
  'natinst_def_nolabels_ex_original1_n3_s1',
  'natinst_def_keep25_ex_empty0_n3_tgtrandom',
  'natinst_def_keep50_ex_original1_n3_s1_tgtswapped_sep3',
  'natinst_def_keep75_ex_original1_n3_inputempty',
  'natinst_def_wordshuffled_ex_original1_n3_s1',
  'natinst_def_flipped_ex_delusive1_n3_s1_tgtswapped',
  'natinst_def_renamedletters_ex_original1_n3',
  'natinst_def_renameddigits_ex_original1_n3_sep53',
  'natinst_def_renamedsymbols_ex_original1_neg1_expl_n3_sep8',
)
# Short enough that prompts and targets are truncated.
_LENGTHS = {'inputs': 400, 'targets': 8}


@pytest.mark.parametrize(
  ('names', 'expected'),
  [
    (_NAMES, '58f65b245e2df4abbfb96f13f7c69474'),
    (_FURTHER_NAMES, '0ebfa02cb729e9938d5a3270f81a6daf'),
  ],
)
def test_tokens_change_with_their_version_only(
  tmp_path, monkeypatch, names, expected
):
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  seqio_lib.use_corpus(mini.write_miniature(tmp_path, size=mini.SMALL))
  fingerprint = row_source.SOURCE.metadata()['fingerprint']
  assert fingerprint[:16] == '5350fce1a4daae5b', 'the test corpus has changed'
  digest = hashlib.sha256()
  for name in names:
    for split in ('train', 'validation'):
      cache = training_tokens.training_tokens(
        mixture_or_task_name=name,
        task_feature_lengths=_LENGTHS,
        fallback_directory=tmp_path / 'run',
        split=split,
      )
      digest.update(cache.fingerprint.encode())
  assert (preprocessors.TOKENS_VERSION, digest.hexdigest()[:32]) == (
    3,
    expected,
  ), 'tokens have changed: raise TOKENS_VERSION and update this hash'
