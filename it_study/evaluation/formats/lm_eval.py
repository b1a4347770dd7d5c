"""Tasks for lm-evaluation-harness 0.4.13, and the samples that it logs."""

from collections.abc import Mapping, Sequence
from typing import Any

from it_study.errors import InputError
from it_study.predictions import Prediction
from it_study.storage import text_files

ENGINE = 'lm_eval'
CHAT = 'chat'
_RANKED = '_ranked'
_KNOWN_LATER = ('inputs', 'prediction', 'raw_prediction', 'scores')
_NORMALIZED = {'ignore_case': True, 'ignore_punctuation': True}


def ranked_name(name: str) -> str:
  """Returns the name of a condition's multiple-choice task."""
  return name + _RANKED


def make_document(
  row: Prediction, *, prompt_format: str, answer_start: str = ''
) -> dict[str, str]:
  """Returns the harness's document of an instance.

  All values are texts. The library that the harness reads documents with
  guesses other types, for each 10 MB anew, and takes texts that are dates for
  times. Lists and the row itself are therefore JSON.

  Args:
    row: Instance and its prompt; its prediction is not used.
    prompt_format: 'chat' if the harness puts the prompt in a chat template.
    answer_start: Text between the prompt and every label.
  """
  record = row.to_json()
  for name in _KNOWN_LATER:
    record.pop(name, None)
  assert row.inputs is not None, 'an exported row has a prompt'
  document = {
    'inputs': row.inputs,
    'targets': _json(row.targets),
    'prompt_format': prompt_format,
    'row': _json(record),
  }
  if row.label_space is not None:
    document['choices'] = _json(
      [answer_start + label for label in row.label_space]
    )
    document['correct'] = _json(
      [i for i, label in enumerate(row.label_space) if label in row.targets]
    )
  return document


def generation_task(name: str, *, data: str, max_tokens: int) -> str:
  """Returns the YAML of a task that answers prompts freely and greedily.

  Args:
    name: Name of the task.
    data: Path of the documents, relative to the folder where the harness runs.
    max_tokens: Maximum length of an answer in tokens.
  """
  return _yaml(
    {
      **_common(name, data),
      'output_type': 'generate_until',
      'doc_to_target': '{{targets}}',
      'generation_kwargs': {
        'until': [],
        'max_gen_toks': max_tokens,
        'do_sample': False,
        'temperature': 0.0,
      },
      'metric_list': [_metric('exact_match') | _NORMALIZED],
    }
  )


def ranking_task(name: str, *, data: str) -> str:
  """Returns the YAML of a task that ranks labels; takes arguments likewise."""
  return _yaml(
    {
      **_common(name, data),
      'output_type': 'multiple_choice',
      'doc_to_target': '{{correct}}',
      'doc_to_choice': '{{choices}}',
      'target_delimiter': '',
      'metric_list': [_metric('acc')],
    }
  )


def read_sample(fields: Mapping[str, Any], where: str) -> Prediction:
  """Makes a row from a line of the samples of an exported task.

  The prompt is the one that the harness gave to the model.

  Args:
    fields: JSON object of the line.
    where: Place of the line, for error messages.

  Raises:
    InputError: If the task was not exported by us, the prompt is not in the
      format of its condition, or the answer is not one to the exported task.
  """
  document = fields['doc']
  if not isinstance(document, dict) or not isinstance(document.get('row'), str):
    raise InputError(
      f'{where}: a sample of another task than `it-study export lm_eval` '
      'writes, so its instance is unknown. Export the condition and run the '
      'task that bears its name.'
    )
  record = text_files.parse_object(document['row'], where=f'{where}: doc.row')
  try:
    requests = [
      (request['arg_0'], request['arg_1'])
      for request in fields['arguments'].values()
    ]
    answers = list(fields['filtered_resps'])
    prompt = requests[0][0]
    # A conversation for an API, as JSON.
    record['inputs'] = prompt if isinstance(prompt, str) else prompt[0]
    if isinstance(requests[0][1], dict):
      (answer,) = answers
      # Which may be between the prompt and the answer.
      record['prediction'] = answer.removeprefix(' ')
    else:
      scores = _scores(
        record['label_space'], [choice for _, choice in requests], answers
      )
      record['scores'] = scores
      record['prediction'] = max(scores, key=lambda label: scores[label])
  except (AttributeError, IndexError, KeyError, TypeError, ValueError):
    raise InputError(
      f'{where}: not a sample as lm-evaluation-harness 0.4.13 logs it for an '
      "exported task: 'arguments' or 'filtered_resps' differ. Run the task as "
      'it was exported, with --log_samples.'
    ) from None
  _check_prompt(record['inputs'], document, where)
  record['engine'] = ENGINE
  return Prediction.from_json(record, where=where)


def _scores(
  labels: Sequence[str], choices: Sequence[str], answers: Sequence
) -> dict[str, float]:
  """Returns each label's log-likelihood; raises `ValueError` on a mismatch."""
  if [choice.removeprefix(' ') for choice in choices] != [
    label.removeprefix(' ') for label in labels
  ]:
    raise ValueError('not the labels')
  return {
    label: float(score)
    for label, (score, _) in zip(labels, answers, strict=True)
  }


def _check_prompt(prompt: str, document: Mapping[str, str], where: str) -> None:
  """Refuses a prompt that is not in its condition's format."""
  is_exported = prompt == document['inputs']
  if document['prompt_format'] == CHAT and is_exported:
    raise InputError(
      f'{where}: the prompt was not in a chat template, as its condition has '
      'it. Run lm_eval with --apply_chat_template.'
    )
  if document['prompt_format'] != CHAT and not is_exported:
    raise InputError(
      f'{where}: the model saw another prompt than was exported. Run lm_eval '
      'without --apply_chat_template, --num_fewshot and --system_instruction; '
      'conditions with _fmtchat ask for a chat template.'
    )


def _common(name: str, data: str) -> dict[str, Any]:
  return {
    'task': name,
    'dataset_path': 'json',
    'dataset_kwargs': {'data_files': {'test': data}},
    'test_split': 'test',
    'doc_to_text': 'inputs',
    'num_fewshot': 0,
    'metadata': {'version': 1.0},
  }


def _metric(name: str) -> dict[str, Any]:
  return {'metric': name, 'aggregation': 'mean', 'higher_is_better': True}


def _yaml(settings: Mapping[str, Any]) -> str:
  """Returns settings as YAML, of which JSON is a part."""
  return ''.join(f'{key}: {_json(value)}\n' for key, value in settings.items())


def _json(value: Any) -> str:
  return text_files.json_line(value).removesuffix('\n')
