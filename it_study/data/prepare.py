"""A corpus's rows, built when first used, and the miniature's vocabulary."""

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


def use_corpus(
  name: str | os.PathLike,
  *,
  vocabulary: str | None = None,
  track: str = 'default',
) -> pathlib.Path:
  """Makes the SeqIO tasks read a corpus, and settles the vocabulary.

  Args:
    name: as `locate.find` takes it.
    vocabulary: a model file, 'byte', or 'miniature' for the one trained on the
      miniature; None leaves it to the environment variable or T5's own.
    track: folder below the corpus's `splits`.

  Returns:
    The corpus's directory.

  Raises:
    InputError: if corpus or vocabulary cannot be used.
  """
  directory = locate.find(name)
  data_dir = build(directory, track=track)
  SOURCE.use(data_dir)
  settle_vocabulary(vocabulary, data_dir=data_dir)
  return directory


def settle_vocabulary(
  name: str | None,
  *,
  data_dir: pathlib.Path | None = None,
  corpus: str | os.PathLike | None = None,
) -> None:
  """Sets the vocabulary that a user named, or checks the one that is set.

  Args:
    name: a model file, 'byte', 'miniature', or None for the environment
      variable, the miniature's if that is the corpus, or T5's own.
    data_dir: of rows that may have the miniature's vocabulary beside them.
    corpus: as `locate.find` takes it.

  Raises:
    InputError: if it cannot be read.
  """
  if name is None and _is_own(os.environ.get(vocabularies.VARIABLE), corpus):
    name = locate.MINIATURE
  if name is None:
    vocabularies.check_current()
    return
  if name == locate.MINIATURE:
    if data_dir is None or not (data_dir / VOCABULARY_FILE).is_file():
      data_dir = build(locate.find(locate.MINIATURE))
    name = os.fspath(data_dir / VOCABULARY_FILE)
  vocabularies.set_vocabulary(name)


def build(
  directory: str | os.PathLike,
  *,
  data_dir: str | os.PathLike | None = None,
  max_instances_per_task: int = tfds_builder.MAX_INSTANCES_PER_TASK,
  track: str = 'default',
  exclusions: str | os.PathLike | None = None,
  allow_overlap: bool = False,
  on_progress: tfds_builder.OnProgress | None = None,
) -> pathlib.Path:
  """Builds a corpus's rows, and the miniature's vocabulary beside them.

  Args:
    directory: of the corpus.
    data_dir: where to; None takes the cache folder.
    max_instances_per_task: cap of training instances.
    track: folder below the corpus's `splits`.
    exclusions: path of an exclusion list.
    allow_overlap: whether test instances may be trained on.
    on_progress: as `tfds_builder.build_rows` has it.

  Returns:
    The data dir.
  """
  corpus = natinst.open_corpus(directory, track=track, exclusions=exclusions)
  data_dir = tfds_builder.build_corpus(
    corpus,
    data_dir=data_dir,
    max_instances_per_task=max_instances_per_task,
    allow_overlap=allow_overlap,
    on_progress=on_progress,
  )
  path = data_dir / VOCABULARY_FILE
  if mini_corpus.is_miniature(directory) and not path.is_file():
    mini_vocabulary.train_vocabulary(corpus=corpus, path=path)
  return data_dir


def _is_own(variable: str | None, corpus: str | os.PathLike | None) -> bool:
  """Whether the miniature's vocabulary is meant, although nobody named it."""
  if variable:
    return variable == locate.MINIATURE
  return (
    corpus is not None
    and os.fspath(corpus) == locate.MINIATURE
    and mini_corpus.is_miniature(locate.find(corpus))
  )
