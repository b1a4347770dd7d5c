"""Parameters from any folder of weights that this project reads."""

from collections.abc import Mapping
import os
import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp

from it_study import checkpoints
from it_study.checkpoint_manifest import write_manifest
from it_study.convert import hf
from it_study.errors import InputError
from it_study.models.config import T5Config

_Path = str | os.PathLike[str]
FORMATS = ('hf', 'it_study')


def restore(path: _Path, *, config: T5Config, target: Any) -> dict[str, Any]:
  """Reads parameters of ours, or of a folder of Hugging Face, onto devices.

  Args:
    path: a checkpoint as `checkpoints.find_checkpoint` takes it, or a folder
      with a config.json and weights.
    config: of the model that takes them.
    target: tree of `jax.ShapeDtypeStruct` with the shardings wanted.

  Raises:
    InputError: there is none, it is damaged, or it does not fit the model.
  """
  if hf.is_folder(path):
    return hf.load_params(path, config=config, target=target)
  return checkpoints.restore_params(path, target=target)


def convert(
  source: _Path, destination: _Path, *, source_format: str, to: str
) -> pathlib.Path:
  """Converts weights between formats; names and values, nothing else.

  The whole model is in the host's memory for the time.

  Args:
    source: the folder to read.
    destination: a new folder.
    source_format: of `FORMATS`.
    to: of `FORMATS`, another one.

  Returns:
    The destination.

  Raises:
    InputError: for formats that are alike, or a folder that cannot be used.
  """
  destination = pathlib.Path(destination)
  if source_format == to:
    raise InputError(f'--from and --to are both {to}; there is nothing to do.')
  if destination.exists() and (
    not destination.is_dir() or any(destination.iterdir())
  ):
    raise InputError(
      f'{destination} is not empty; weights are written to a new folder.'
    )
  if source_format == 'hf':
    config = hf.read_model_config(source)
    _save(
      destination,
      hf.load_params(source, config=config, target=_abstract(config)),
    )
    return destination
  params = checkpoints.restore_params(source)
  hf.save_params(destination, params, config=infer_config(params))
  return destination


def infer_config(params: Mapping[str, Any]) -> T5Config:
  """The configuration of a T5, told from its parameters' names and shapes."""
  encoder, decoder = params['encoder'], params['decoder']
  attention = encoder['layers_0']['attention']['query']['kernel']
  mlp = encoder['layers_0']['mlp']
  num_heads, num_buckets = encoder['relpos_bias']['rel_embedding'].shape
  vocab_size, emb_dim = params['token_embedder']['embedding'].shape
  is_gated = 'wi_0' in mlp
  return T5Config(
    vocab_size=vocab_size,
    emb_dim=emb_dim,
    num_heads=num_heads,
    head_dim=attention.shape[1] // num_heads,
    mlp_dim=mlp['wo']['kernel'].shape[0],
    num_encoder_layers=_num_layers(encoder),
    num_decoder_layers=_num_layers(decoder),
    # T5's two versions; the names do not tell one gate from another.
    mlp_activations=('gelu', 'linear') if is_gated else ('relu',),
    logits_via_embedding='logits_dense' not in decoder,
    relative_attention_num_buckets=num_buckets,
  )


def _num_layers(stack: Mapping[str, Any]) -> int:
  return sum(name.startswith('layers_') for name in stack)


def _abstract(config: T5Config) -> Any:
  from it_study import partitioning
  from it_study.models.t5 import T5

  mesh = partitioning.make_mesh(
    data=1, devices=jax.local_devices(backend='cpu')[:1]
  )
  return partitioning.abstract_params(model=T5(config), mesh=mesh)


def _save(directory: pathlib.Path, params: Any) -> None:
  """Writes parameters as a checkpoint of step 0, its manifest last."""
  step = directory.resolve() / 'checkpoints' / '0'
  try:
    step.mkdir(parents=True)
    with ocp.StandardCheckpointer() as checkpointer:
      checkpointer.save(step / 'params', params)
    write_manifest(step)
  except OSError as error:
    raise InputError(
      f'{directory}: cannot be written: {error.strerror or error}.'
    ) from None
