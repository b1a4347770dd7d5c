"""Tests of weights in Hugging Face's format: parity, round trips, errors."""

import importlib.util
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest

from it_study import cli
from it_study.checkpoints import weights, weights_source
from it_study.checkpoints.hf import params as hf
from it_study.errors import InputError
from it_study.models import partitioning
from it_study.models.t5 import T5

_GOLDEN_DIR = pathlib.Path(__file__).parents[2] / 'golden'
_SPEC = importlib.util.spec_from_file_location(
  'make_hf_golden', _GOLDEN_DIR / 'make_hf_golden.py'
)
golden = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(golden)

variants = pytest.mark.parametrize('variant', ['v1_0', 'v1_1'])


@pytest.fixture(name='folder', params=['v1_0', 'v1_1'])
def _folder(request, tmp_path):
  """A copy that a test may damage."""
  return shutil.copytree(golden.PATH / request.param, tmp_path / 'hf')


def load(path, **changes):
  config = hf.read_model_config(path)
  config = type(config)(**{**vars(config), **changes})
  target = partitioning.abstract_params(
    model=T5(config), mesh=partitioning.make_mesh()
  )
  return config, hf.load_params(path, config=config, target=target)


def logits(config, params):
  return np.asarray(
    T5(config).apply(
      {'params': params}, golden.PROMPTS, golden.SHIFTED, golden.TARGETS
    )
  )


def same(first, second):
  return jax.tree.all(
    jax.tree.map(lambda a, b: bool((a == b).all()), first, second)
  )


@variants
def test_logits_match_transformers(variant):
  config, params = load(golden.PATH / variant)
  assert config.logits_via_embedding == (variant == 'v1_0')
  expected = np.load(golden.PATH / f'{variant}_logits.npy')
  found = logits(config, params)
  # Logits of padding are arbitrary.
  real = golden.TARGETS != 0
  np.testing.assert_allclose(found[real], expected[real], atol=1e-4, rtol=0)


@variants
@pytest.mark.parametrize('shard_bytes', [10**9, 5000])
def test_a_round_trip_changes_no_bit(variant, shard_bytes, tmp_path):
  config, params = load(golden.PATH / variant)
  hf.save_params(
    tmp_path / 'out', params, config=config, shard_bytes=shard_bytes
  )
  again, returned = load(tmp_path / 'out')
  assert again == config
  assert same(params, returned)


@variants
def test_transformers_loads_what_we_write(variant, tmp_path):
  transformers = pytest.importorskip(
    'transformers', reason='needs the parity extra'
  )
  torch = pytest.importorskip('torch', reason='needs the parity extra')
  model = golden.make_model(variant, seed=7, num_layers=3)
  model.save_pretrained(tmp_path / 'theirs')
  config, params = load(tmp_path / 'theirs')
  real = golden.TARGETS != 0
  np.testing.assert_allclose(
    logits(config, params)[real],
    golden.logits_of(model)[real],
    atol=1e-4,
    rtol=0,
  )
  hf.save_params(tmp_path / 'ours', params, config=config, shard_bytes=9000)
  returned = transformers.T5ForConditionalGeneration.from_pretrained(
    tmp_path / 'ours'
  )
  before, after = model.state_dict(), returned.state_dict()
  assert before.keys() == after.keys()
  assert all(torch.equal(before[name], after[name]) for name in before)


def save_pytorch_shards(tensors, folder, *, count):
  """Writes parts and their index, as transformers did before version 5."""
  import torch

  names = sorted(tensors)
  weight_map = {}
  for number in range(count):
    file = f'pytorch_model-{number + 1:05d}-of-{count:05d}.bin'
    part = {name: tensors[name].clone() for name in names[number::count]}
    torch.save(part, folder / file)
    weight_map |= dict.fromkeys(part, file)
  size = sum(tensor.nbytes for tensor in tensors.values())
  index = {'metadata': {'total_size': size}, 'weight_map': weight_map}
  (folder / 'pytorch_model.bin.index.json').write_text(json.dumps(index))


@variants
def test_pytorch_shards_and_bfloat16_are_read(variant, tmp_path):
  pytest.importorskip('torch', reason='needs the parity extra')
  model = golden.make_model(variant).bfloat16()
  model.save_pretrained(tmp_path / 'half')
  _, params = load(tmp_path / 'half')
  (tmp_path / 'half/model.safetensors').unlink()
  save_pytorch_shards(model.float().state_dict(), tmp_path / 'half', count=3)
  parts = sorted(
    path.name for path in (tmp_path / 'half').glob('pytorch_*.bin')
  )
  assert parts == [
    f'pytorch_model-0000{number}-of-00003.bin' for number in (1, 2, 3)
  ]
  _, returned = load(tmp_path / 'half')
  assert same(params, returned)
  assert params['token_embedder']['embedding'].dtype == np.float32


def test_pytorch_files_before_1_6_are_read(tmp_path):
  torch = pytest.importorskip('torch', reason='needs the parity extra')
  folder = shutil.copytree(golden.PATH / 'v1_1', tmp_path / 'hf')
  _, expected = load(folder)
  (folder / 'model.safetensors').unlink()
  path = folder / 'pytorch_model.bin'
  for is_archive in (False, True):
    torch.save(
      golden.make_model('v1_1').state_dict(),
      path,
      _use_new_zipfile_serialization=is_archive,
    )
    _, params = load(folder)
    assert same(params, expected)
    content = path.read_bytes()
    for size in (0, 3, 1000, len(content) // 2, len(content) - 10):
      path.write_bytes(content[:size])
      with pytest.raises(
        InputError,
        match=r'pytorch_model\.bin: cannot be read: .+\. It may be truncated; '
        'download it again',
      ):
        load(folder)


def test_a_larger_vocabulary_is_filled_with_the_last_row():
  config, params = load(golden.PATH / 'v1_1', vocab_size=128)
  table = params['token_embedder']['embedding']
  head = params['decoder']['logits_dense']['kernel']
  assert (table[96:] == table[95]).all()
  assert (head[:, 96:] == head[:, 95:96]).all()
  found = logits(config, params)
  assert (found.argmax(-1) < 96).all()


def test_a_second_table_under_tied_logits_is_refused(tmp_path):
  folder = shutil.copytree(golden.PATH / 'v1_1', tmp_path / 'hf')
  config = json.loads((folder / 'config.json').read_text())
  config |= {'scale_decoder_outputs': True}
  (folder / 'config.json').write_text(json.dumps(config))
  with pytest.raises(InputError, match=r'lm_head\.weight differs from shared'):
    load(folder)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    (
      {'d_kv': 12, 'num_heads': 2},
      r'does not fit the model: num_heads is 2 there',
    ),
    ({'model_type': 'bart'}, r"model_type must be 't5', got 'bart'"),
    (
      {'feed_forward_proj': 'swish'},
      r"feed_forward_proj must be one of relu, .*, got 'swish'",
    ),
    (
      {'layer_norm_epsilon': 1e-5},
      r'config\.json: layer_norm_epsilon must be 1e-06, got 1e-05\.$',
    ),
    ({'vocab_size': 512}, 'vocab_size is 512 there and 96 in the model'),
  ],
)
def test_another_configuration_is_refused(folder, changes, message):
  config = hf.read_model_config(folder)
  target = partitioning.abstract_params(
    model=T5(config), mesh=partitioning.make_mesh()
  )
  path = folder / 'config.json'
  path.write_text(json.dumps(json.loads(path.read_text()) | changes))
  with pytest.raises(InputError, match=message):
    hf.load_params(folder, config=config, target=target)


def test_missing_and_unexpected_tensors_are_listed(folder):
  path = folder / 'config.json'
  fields = json.loads(path.read_text()) | {'num_layers': 3}
  path.write_text(json.dumps(fields))
  with pytest.raises(
    InputError,
    match=r'missing tensors: encoder\.block\.2\.layer\.0\.SelfAttention\.k\.'
    r'weight, .* and \d+ more; unexpected tensors: none\.',
  ):
    load(folder)
  path.write_text(json.dumps(fields | {'num_layers': 1}))
  with pytest.raises(
    InputError, match='missing tensors: none; unexpected tensors: enc'
  ):
    load(folder)


def test_damaged_files_are_named(folder):
  weights_file = folder / 'model.safetensors'
  content = weights_file.read_bytes()
  weights_file.write_bytes(content[: len(content) // 2])
  with pytest.raises(InputError, match=r'model\.safetensors: cannot be read'):
    load(folder)
  weights_file.unlink()
  with pytest.raises(InputError, match='no weights; a Hugging Face folder'):
    load(folder)
  (folder / 'config.json').write_text('{"d_model": ')
  with pytest.raises(
    InputError,
    match=r'config\.json: not JSON: Expecting value at column 13; expected '
    r'JSON\. Download it again\.$',
  ):
    hf.read_model_config(folder)


def test_a_missing_shard_is_named(tmp_path):
  config, params = load(golden.PATH / 'v1_1')
  hf.save_params(tmp_path / 'out', params, config=config, shard_bytes=5000)
  parts = sorted((tmp_path / 'out').glob('model-*'))
  assert len(parts) > 2
  parts[1].unlink()
  with pytest.raises(InputError, match='a shard of the weights is missing'):
    load(tmp_path / 'out')
  index = tmp_path / 'out/model.safetensors.index.json'
  found = json.loads(index.read_text())
  for wrong in ('../../etc/passwd', 3, None, ['model.safetensors']):
    found['weight_map']['shared.weight'] = wrong
    index.write_text(json.dumps(found))
    with pytest.raises(InputError) as error:
      load(tmp_path / 'out')
    assert str(error.value) == (
      f'{index}: expected file names in the same folder, got {wrong!r}.'
    )


@variants
def test_the_command_converts_there_and_back(variant, tmp_path, capsys):
  source, ours = str(golden.PATH / variant), str(tmp_path / 'ours')
  words = ('--from=hf', '--to=it_study')
  assert cli.main(['convert', source, ours, *words]) == 0
  back = ('convert', ours, str(tmp_path / 'back'), '--from=it_study', '--to=hf')
  assert cli.main([*back]) == 0
  config, params = load(tmp_path / 'back')
  original, expected = load(source)
  assert config == original
  assert same(params, expected)
  capsys.readouterr()
  assert cli.main([*back]) == 2
  assert 'is not empty' in capsys.readouterr().err
  assert cli.main(['convert', source, 'x', '--from=hf', '--to=hf']) == 2
  assert 'there is nothing to do' in capsys.readouterr().err
  assert cli.main(['convert', 'nothing', 'x', *words]) == 2
  assert 'nothing: no such folder' in capsys.readouterr().err


@variants
def test_any_format_is_restored(variant, tmp_path):
  config, params = load(golden.PATH / variant)
  ours = weights.convert(
    golden.PATH / variant,
    tmp_path / 'ours',
    source_format='hf',
    to='it_study',
  )
  target = partitioning.abstract_params(
    model=T5(config), mesh=partitioning.make_mesh()
  )
  for path in (ours, golden.PATH / variant):
    found = weights.restore(
      weights_source.resolve(path), config=config, target=target
    )
    assert same(found, params)
