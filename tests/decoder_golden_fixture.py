"""Tiny models of transformers, their weights and results, from a file."""

import functools
import importlib.util
import io
import json
import pathlib
import tarfile

from flax import traverse_util
import numpy as np
from safetensors.numpy import load

from it_study.checkpoints.hf import decoder_config, decoder_names
from it_study.models.decoder_only.config import DecoderConfig
from it_study.models.decoder_only.model import DecoderLM

_GOLDEN_DIR = pathlib.Path(__file__).parent / 'golden'
_SPEC = importlib.util.spec_from_file_location(
  'make_decoder_golden', _GOLDEN_DIR / 'make_decoder_golden.py'
)
golden = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(golden)


@functools.cache
def golden_files() -> dict[str, bytes]:
  with tarfile.open(golden.PATH) as archive:
    return {
      member.name: archive.extractfile(member).read() for member in archive
    }


@functools.cache
def golden_model(variant):
  """Returns the model, its parameters and transformers' results."""
  files = golden_files()
  fields = json.loads(files[f'{variant}/config.json'])
  config = DecoderConfig(**decoder_config.read_config(fields))
  params = to_params(load(files[f'{variant}/model.safetensors']), config)
  with np.load(io.BytesIO(files[f'{variant}/reference.npz'])) as arrays:
    return DecoderLM(config), params, dict(arrays)


def to_params(stored, config):
  """Returns arrays by the names of transformers as a tree of ours."""
  flat = {
    name: stored[tensor.name].T if tensor.is_transposed else stored[tensor.name]
    for name, tensor in decoder_names.tensors(config).items()
  }
  return traverse_util.unflatten_dict(flat, sep='/')
