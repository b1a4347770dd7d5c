"""Tests that damage every file of docs/results.md and run what reads it."""

import json
import pathlib
import re
import shutil
import tarfile

import pytest

from it_study import report
from it_study.checkpoints import manager, weights_source
from it_study.conditions import Condition
from it_study.corpus import natinst
from it_study.errors import InputError
from it_study.evaluation import score
from it_study.inference.answer_store import AnswerStore
from it_study.report.browser.index import Index
from it_study.report.browser.query import Query
from it_study.storage.manifest import DONE
from it_study.study import run
from it_study.study.run_record import RunRecord
from it_study.training import metrics_log

_ROOT = pathlib.Path(__file__).parents[2]
_PAGE = (_ROOT / 'docs/results.md').read_text()
_FORMER = _ROOT / 'tests/golden/former_study.tar.xz'
CONDITION = 'natinst_def_original_ex_original1'
TRAINING = f'trainings/{CONDITION}_seed0'
CELL = f'cells/{CONDITION}_seed0__{CONDITION}__test'


def named_files() -> list[str]:
  """Returns the files and folders of a study that the page names."""
  (section,) = re.findall(r'^## Study folder\n(.*?)^## ', _PAGE, re.M | re.S)
  names = []
  for path, text in re.findall(r'^\| `([^`]+)` \| (.*) \|$', section, re.M):
    folder = path.replace('trainings/TRAINING', TRAINING)
    folder = folder.replace('cells/CELL', CELL)
    inside = re.findall(r'`([\w./]+)`', text)
    if path == 'leases/':
      # Written with preconditions, and only compared: see storage_test.
      continue
    if folder.endswith('/') and inside:
      names += [f'{folder}{name}' for name in inside]
    else:
      names.append(folder)
  return names


FILES = named_files()


def cut(part):
  def damage(path):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])

  return damage


def empty(path):
  path.write_bytes(b'')


def zero(path):
  """As some file systems do with a file that was not flushed in time."""
  path.write_bytes(bytes(path.stat().st_size))


def flip(path):
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(content)


def encode(path):
  content = bytearray(path.read_bytes())
  content[len(content) // 3] = 0xFF
  path.write_bytes(content)


def make_folder(path):
  path.unlink()
  path.mkdir()


DAMAGES = {
  'cut at a tenth': cut(0.1),
  'cut in the middle': cut(0.5),
  'cut at the end': cut(0.99),
  'emptied': empty,
  'zeroed': zero,
  'flipped': flip,
  'not UTF-8': encode,
  'a folder': make_folder,
}


class Engine:
  """Answers and trains by copying from another study."""

  instances_per_test_task = None

  def __init__(self, source):
    self.source = source

  def finetune(self, *, model_dir, **_):
    folder = pathlib.Path(model_dir)
    self._copy(folder, skip=(DONE, 'config.gin'))
    return json.loads((folder / 'training.json').read_text())

  def predict(self, *, infer_output_dir, answer_dir, **_):
    self._copy(pathlib.Path(infer_output_dir), skip=(DONE, 'metrics.json'))
    shutil.copytree(self.source / 'answers', answer_dir, dirs_exist_ok=True)

  def _copy(self, folder, skip):
    source = self.source / folder.parent.name / folder.name
    ignore = shutil.ignore_patterns(*skip)
    shutil.copytree(source, folder, dirs_exist_ok=True, ignore=ignore)


@pytest.fixture(name='former', scope='module')
def _former(tmp_path_factory):
  folder = tmp_path_factory.mktemp('former')
  with tarfile.open(_FORMER) as archive:
    archive.extractall(folder, filter='data')
  return folder


def run_again(folder, former):
  """Runs a study; the folder is finished unless something is damaged."""
  details = json.loads((former / 'STUDY/run.json').read_text())
  run.run_study(
    corpus=former / 'CORPUS',
    conditions=[Condition.from_name(CONDITION)],
    seeds=(0,),
    study_dir=folder,
    engine=Engine(former / 'STUDY'),
    splits=('test',),
    record=RunRecord(
      config=(former / 'STUDY/study.gin').read_text(),
      details={name: details[name] for name in ('vocabulary', 'device')},
    ),
  )


@pytest.fixture(name='whole', scope='module')
def _whole(former, tmp_path_factory):
  folder = tmp_path_factory.mktemp('whole') / 'study'
  # The second run writes the values of SEEDS into study.gin.
  for _ in range(2):
    run_again(folder, former)
  report.write_report(study_dir=folder, results=report.score(folder))
  return folder


def content(path):
  """Returns the content of a file, but for what tells the time."""
  found = path.read_bytes() if path.is_file() else b''
  if path.name == DONE:
    found = re.sub(rb'"seconds": [\d.]+', b'', found)
  return found


def contents(folder):
  paths = (path for path in sorted(folder.rglob('*')) if path.name != '.lock')
  return {str(path.relative_to(folder)): content(path) for path in paths}


def view(folder, former):
  del former
  index = Index(folder)
  for cell in index.describe()['cells']:
    index.rows(Query(cell=cell['cell'], text='wet'))
  return index.study.notes


def make_report(folder, former):
  del former
  results = report.score(folder)
  report.write_report(study_dir=folder, results=results)
  return results.notes


def score_predictions(folder, former):
  corpus = natinst.open_corpus(former / 'CORPUS')
  path = folder / CELL / 'predictions.jsonl'
  return score.score_file(path, corpus=corpus).notes


def resume(folder, former):
  """Reads what `train` and `predict` read of a finished training."""
  del former
  path = folder / TRAINING
  metrics_log.drop_lines_after(path / 'metrics.jsonl', 4)
  metrics_log.total_seconds(path / 'metrics.jsonl')
  source = weights_source.resolve(path)
  assert source.training['train_steps'] == 4
  assert source.step == 4
  with pytest.raises(InputError, match='none has a loss'):
    manager.find_checkpoint(path / 'best')


def read_answers(folder, former):
  for path in (former / 'STUDY/answers').iterdir():
    settings = json.loads((path / 'settings.json').read_text())
    AnswerStore(folder / 'answers', settings=settings)


# What a reader does about a damaged file: it ends with a message that names it,
# writes it again as it was, says that it is damaged, or does not read it.
NAMES, RESTORES, SAYS, IGNORES = 'names', 'restores', 'says', 'ignores'
READERS = (run_again, make_report, view, score_predictions, resume)
# By file of the page and by reader. A reader that is missing does not read it.
EXPECTED = {
  # A report shows the configuration as it is.
  'study.gin': {
    run_again: {NAMES, RESTORES},
    make_report: {NAMES, IGNORES},
    view: {NAMES, IGNORES},
  },
  'run.json': {
    run_again: {NAMES, RESTORES},
    make_report: {NAMES},
    view: {NAMES},
  },
  'results.jsonl': {
    run_again: {RESTORES, NAMES},
    make_report: {NAMES, SAYS, IGNORES},
    view: {NAMES, SAYS, IGNORES},
  },
  f'{TRAINING}/config.gin': {},
  f'{TRAINING}/checkpoints/': {resume: {NAMES}},
  f'{TRAINING}/metrics.jsonl': {
    make_report: {SAYS, NAMES},
    view: {SAYS, NAMES},
    resume: {SAYS, NAMES, IGNORES},
  },
  f'{TRAINING}/events/': {},
  f'{TRAINING}/training.json': {
    run_again: {RESTORES, NAMES},
    resume: {NAMES},
  },
  f'{TRAINING}/DONE': {
    run_again: {RESTORES, NAMES},
    make_report: {NAMES, IGNORES},
    view: {NAMES, IGNORES},
  },
  f'{CELL}/predictions.jsonl': {
    run_again: {NAMES},
    make_report: {NAMES},
    view: {NAMES},
    score_predictions: {NAMES, SAYS},
  },
  f'{CELL}/metrics.json': {run_again: {RESTORES, NAMES}},
  f'{CELL}/inference.json': {run_again: {NAMES}},
  f'{CELL}/DONE': {
    run_again: {RESTORES, NAMES},
    make_report: {NAMES},
    view: {NAMES},
  },
  'answers/': {read_answers: {RESTORES, SAYS, NAMES}},
  **{
    f'report/{name}': {make_report: {RESTORES, NAMES}}
    for name in ('index.html', 'report.md', 'results.csv', 'tables.tex')
  },
}
# These hold many files, of which the other readers read none.
FOLDERS = {f'{TRAINING}/checkpoints/', f'{TRAINING}/events/', 'answers/'}


def files_inside(whole, name):
  paths = [whole / name]
  if name.endswith('/'):
    inside = sorted(path for path in paths[0].rglob('*') if path.is_file())
    # One of each kind.
    paths = list({path.suffix: path for path in inside}.values())
  assert paths, f'{name}: no such file in a study'
  return [str(path.relative_to(whole)) for path in paths]


def outcome(reader, folder, former, file, whole, caplog):
  """Runs a reader; returns what it does about a damaged file."""
  caplog.clear()
  try:
    said = (*(reader(folder, former) or ()), *caplog.messages)
  except InputError as error:
    message = str(error)
    assert '\n' not in message
    # A flipped byte in a manifest changes the name of another file.
    assert pathlib.Path(file).name in message or '/checkpoints/4 ' in message
    return NAMES
  if content(folder / file) == content(whole / file):
    return RESTORES
  return SAYS if any(pathlib.Path(file).name in s for s in said) else IGNORES


@pytest.mark.parametrize('damage', DAMAGES)
@pytest.mark.parametrize('name', FILES)
def test_damage_is_named_or_repaired(
  name, damage, whole, former, tmp_path, caplog
):
  expected = EXPECTED[name]
  # One damage shows that a reader does not read a file.
  others = READERS if damage == 'zeroed' and name not in FOLDERS else ()
  for file in files_inside(whole, name):
    for reader in dict.fromkeys((*expected, *others)):
      folder = tmp_path / 'study'
      shutil.copytree(whole, folder)
      DAMAGES[damage](folder / file)
      done = outcome(reader, folder, former, file, whole, caplog)
      where = (file, reader.__name__)
      assert done in expected.get(reader, {IGNORES}), where
      if damage in ('emptied', 'zeroed', 'a folder') and reader in expected:
        assert done != IGNORES, where
      if reader is run_again and done == RESTORES:
        assert contents(folder) == contents(whole), where
      shutil.rmtree(folder)
