"""Random T5s in transformers and in it_study, with the same parameters."""

import importlib.util
import pathlib

from it_study.checkpoints.hf import params
from it_study.models import partitioning
from it_study.models.t5 import T5

_SPEC = importlib.util.spec_from_file_location(
  'make_hf_golden',
  pathlib.Path(__file__).parent / 'golden/make_hf_golden.py',
)
golden = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(golden)
VARIANTS = tuple(golden.VARIANTS)


def both(variant, folder):
  """Returns the model in transformers, ours, and the parameters of ours.

  It is larger than the golden model, many of whose sequences are equally likely
  up to rounding.
  """
  theirs = golden.make_model(
    variant, d_model=48, d_kv=12, num_heads=5, d_ff=80, num_decoder_layers=2
  )
  theirs.save_pretrained(folder)
  return theirs, *ours(folder)


def ours(folder):
  """Returns our model and its parameters, read from a folder of weights."""
  model = T5(params.read_model_config(folder))
  target = partitioning.abstract_params(
    model=model, mesh=partitioning.make_mesh(data=1, devices=_one_device())
  )
  return model, params.load_params(folder, config=model.config, target=target)


def _one_device():
  import jax

  return jax.devices()[:1]
