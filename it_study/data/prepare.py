"""Builds a corpus's rows on first use, and sets the vocabulary."""

import hashlib
import logging
import os
import pathlib

from it_study.corpus import locate, natinst
from it_study.corpus.miniature import (
  benchmark as mini_corpus,
  vocabulary as mini_vocabulary,
)
from it_study.data import tfds_builder, vocabularies
from it_study.data.row_source import SOURCE

VOCABULARY_FILE = 'vocabulary.model'
_SHA256_FILE = f'{VOCABULARY_FILE}.sha256'
_logger = logging.getLogger(__name__)


def use_corpus(
  name: str | os.PathLike,
  *,
  data_dir: str | os.PathLike | None = None,
  max_instances_per_task: int = tfds_builder.MAX_INSTANCES_PER_TASK,
  track: str = 'default',
) -> pathlib.Path:
  """Makes the SeqIO tasks read a corpus, whose rows are built on first use.

  Args:
    name: Directory laid out like a checkout of natural-instructions,
      'miniature' for the embedded benchmark, or a `gs://` folder.
    data_dir: Data dir of the rows; None for the cache folder.
    max_instances_per_task: Maximum number of training instances per task.
    track: Folder of split files below the corpus's `splits`.

  Returns:
    The data dir.

  Raises:
    InputError: If the corpus cannot be used or its rows cannot be written.
  """
  data_dir = tfds_builder.build_rows(
    natinst.open_corpus(locate.find(name), track=track),
    data_dir=data_dir,
    max_instances_per_task=max_instances_per_task,
  )
  SOURCE.use(data_dir)
  return data_dir


def use_corpus_and_vocabulary(
  name: str | os.PathLike,
  *,
  vocabulary: str | None = None,
  track: str = 'default',
) -> pathlib.Path:
  """Makes the SeqIO tasks read a corpus, and sets the vocabulary.

  Args:
    name: Corpus, as in `use_corpus`.
    vocabulary: Path of a model file, 'byte', or 'miniature' for the one trained
      on the miniature; None for the environment variable or T5's own.
    track: Folder of split files below the corpus's `splits`.

  Returns:
    The corpus's directory.

  Raises:
    InputError: If the corpus or the vocabulary cannot be used.
  """
  directory = locate.find(name)
  data_dir = use_corpus(directory, track=track)
  set_or_check_vocabulary(vocabulary, data_dir=data_dir)
  return directory


def set_or_check_vocabulary(
  name: str | None,
  *,
  data_dir: pathlib.Path | None = None,
  corpus: str | os.PathLike | None = None,
) -> None:
  """Sets the vocabulary that the user named, or checks the current one.

  Args:
    name: Path of a model file, 'byte' or 'miniature'; None for the environment
      variable, the miniature's own if that is the corpus, or T5's own.
    data_dir: Data dir that may hold the miniature's vocabulary.
    corpus: Corpus, as in `use_corpus`.

  Raises:
    InputError: If the vocabulary cannot be read.
  """
  if name is None and _is_miniature_vocabulary(
    os.environ.get(vocabularies.VARIABLE), corpus
  ):
    name = locate.MINIATURE
  if name is None:
    vocabularies.check_current()
    return
  if name == locate.MINIATURE:
    if data_dir is None or not _has_vocabulary(data_dir):
      data_dir = build_corpus(locate.find(locate.MINIATURE))
    name = os.fspath(data_dir / VOCABULARY_FILE)
  vocabularies.set_vocabulary(name)


def build_corpus(
  directory: str | pathlib.Path,
  *,
  data_dir: str | os.PathLike | None = None,
  max_instances_per_task: int = tfds_builder.MAX_INSTANCES_PER_TASK,
  track: str = 'default',
  exclusions: str | pathlib.Path | None = None,
  allow_overlap: bool = False,
  reread: bool = False,
  on_progress: tfds_builder.OnProgress | None = None,
) -> pathlib.Path:
  """Builds a corpus's rows; for the miniature, trains its vocabulary, too.

  Args:
    directory: Directory of the corpus.
    data_dir: Data dir to write to; None for the cache folder.
    max_instances_per_task: Maximum number of training instances per task.
    track: Folder of split files below the corpus's `splits`.
    exclusions: Path of an exclusion list.
    allow_overlap: Whether to build rows that train on test instances.
    reread: Whether to read existing rows in search of damage.
    on_progress: Called with the progress of `tfds_builder.build_rows`.

  Returns:
    The data dir; the miniature's has its vocabulary in `VOCABULARY_FILE`.
  """
  corpus = natinst.open_corpus(directory, track=track, exclusions=exclusions)
  data_dir = tfds_builder.build_rows(
    corpus,
    data_dir=data_dir,
    max_instances_per_task=max_instances_per_task,
    allow_overlap=allow_overlap,
    reread=reread,
    on_progress=on_progress,
  )
  if mini_corpus.is_miniature(directory) and not _has_vocabulary(data_dir):
    path = data_dir / VOCABULARY_FILE
    if path.is_file():
      _logger.warning(
        '%s: it has changed since it was written; rebuilding it', path
      )
    mini_vocabulary.train_vocabulary(corpus=corpus, path=path)
    # In the format of sha256sum.
    (data_dir / _SHA256_FILE).write_text(f'{_sha256(path)}  {path.name}\n')
  return data_dir


def _has_vocabulary(data_dir: pathlib.Path) -> bool:
  """Whether the vocabulary is there, and unchanged since it was trained."""
  path = data_dir / VOCABULARY_FILE
  if not path.is_file():
    return False
  try:
    trained = (data_dir / _SHA256_FILE).read_text().split()[0]
  except (OSError, UnicodeDecodeError, IndexError):
    # Former builds have no hash.
    return True
  return trained == _sha256(path)


def _sha256(path: pathlib.Path) -> str:
  return hashlib.sha256(path.read_bytes()).hexdigest()


def _is_miniature_vocabulary(
  variable: str | None, corpus: str | os.PathLike | None
) -> bool:
  """Whether the miniature's vocabulary is meant although nobody named it."""
  if variable:
    return variable == locate.MINIATURE
  return (
    corpus is not None
    and os.fspath(corpus) == locate.MINIATURE
    and mini_corpus.is_miniature(locate.find(corpus))
  )
