"""Predictions of a tiny T5 and a tiny Llama, alone and in several processes."""

import os

import fakes
import gguf_files

from it_study.data import vocabularies
from it_study.engines import native
from it_study.inference.decoding import Decoding
import tasks  # noqa: F401  Registers the conditions.

# The Llama's prompts begin alike, with the definition and an example.
CONDITIONS = {
  't5': 'natinst_def_empty_ex_original1',
  'llama': 'natinst_def_original_ex_original1_fmtalpaca',
}
# Rows without a label space are decoded freely: ranked methods answer them
# greedily, and constrained beam search by beam search.
RUNS = (
  *(('t5', name) for name in ('greedy', 'constrained_beam')),
  *(('t5', name) for name in ('ranked_conditional', 'sample')),
  *(('llama', name) for name in ('constrained_beam', 'ranked')),
)


def predict(kind, method, *, weights, folder, **settings):
  """Answers the test split; returns the path of the predictions.

  Args:
    weights: Folder of a Llama from `gguf_files`.
    folder: Folder for the predictions.
    **settings: Further arguments of `native.predict`.
  """
  is_llama = kind == 'llama'
  os.environ[vocabularies.VARIABLE] = str(weights) if is_llama else 'byte'
  return native.predict(
    model_config=gguf_files.make_config if is_llama else fakes.tiny_model(),
    checkpoint_path=weights if is_llama else None,
    mixture_or_task_name=CONDITIONS[kind],
    # As many bytes hold the template, too.
    task_feature_lengths={'inputs': 512, 'targets': 12}
    if is_llama
    else fakes.LENGTHS,
    infer_output_dir=f'{folder}/{kind}/{method}',
    decoding=Decoding(method=method, num_beams=2),
    **settings,
  )
