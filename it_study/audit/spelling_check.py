"""Checks what a vocabulary can spell of a task's labels and references."""

from collections.abc import Iterable, Iterator

from it_study.corpus.findings import NOTE, WARNING, CorpusFinding, merge
from it_study.corpus.natinst import Instance, Task


def check_task(
  task: Task, instances: Iterable[Instance]
) -> list[CorpusFinding]:
  """Returns findings about texts that the current vocabulary cannot spell.

  'unknown-characters' and 'normalized-characters' say which texts lose
  characters that the vocabulary lacks, or has others in place of those that its
  normalisation (NFKC) changes; 'unspellable-label' and 'unspellable-reference'
  say where no answer is an exact match as a result.
  """
  return list(merge(_findings(task, instances)))


def _findings(
  task: Task, instances: Iterable[Instance]
) -> Iterator[CorpusFinding]:
  # Imported here, because workers must silence TensorFlow before its import.
  from it_study.data import tensorflow_setup

  tensorflow_setup.import_tensorflow()
  from it_study.data import vocabularies

  vocabulary = vocabularies.current_vocabulary()

  def finding(
    severity: str, code: str, where: str, message: str, *ids: str
  ) -> CorpusFinding:
    return CorpusFinding(
      severity=severity,
      code=code,
      task=task.name,
      where=where,
      message=message,
      instances=ids,
    )

  for label in task.label_space or ():
    spelled = vocabularies.spell(vocabulary, label)
    shown = f'{label!r:.60} is answered as {spelled.text!r:.60}'
    if not vocabularies.is_matched(label, spelled):
      yield finding(
        WARNING,
        'unspellable-label',
        'label space',
        f'{shown}, which is not an exact match',
      )
    elif vocabularies.loses_characters(spelled):
      yield finding(NOTE, 'unknown-characters', 'label space', shown)
    elif vocabularies.changes_characters(label, spelled):
      yield finding(NOTE, 'normalized-characters', 'label space', shown)
  for instance in instances:
    where = f'Instances[{instance.position}].output'
    pairs = [(o, vocabularies.spell(vocabulary, o)) for o in instance.outputs]
    if not any(vocabularies.is_matched(*pair) for pair in pairs):
      output, spelled = pairs[0]
      lost = ''.join(dict.fromkeys(c for c in output if c not in spelled.text))
      yield finding(
        WARNING,
        'unspellable-reference',
        where,
        f'no answer is an exact match, as the vocabulary lacks {lost!r:.60}',
        instance.id,
      )
    if any(vocabularies.loses_characters(spelled) for _, spelled in pairs):
      yield finding(
        NOTE,
        'unknown-characters',
        where,
        'has a reference with characters that the vocabulary lacks',
        instance.id,
      )
    if any(vocabularies.changes_characters(*pair) for pair in pairs):
      yield finding(
        NOTE,
        'normalized-characters',
        where,
        'has a reference with characters that the vocabulary normalises (NFKC)',
        instance.id,
      )
