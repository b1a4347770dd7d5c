"""Writes templates and data sets of P3, both of the tests' own."""

from collections.abc import Mapping
import json
import os
import pathlib
from typing import Any

import pytest
import seqio
import tensorflow_datasets as tfds

from it_study.data import vocabularies
from it_study.data.p3.data_sets import HELD_OUT


def write_templates(
  checkout: pathlib.Path, data_set: str, templates: Mapping[str, Mapping]
) -> pathlib.Path:
  """Writes the templates of a data set; returns their file.

  Args:
    checkout: Folder of the checkout.
    data_set: Folder of the data set, such as 'super_glue/cb'.
    templates: Values of `jinja`, `answer_choices` and `original_task` by name.
  """
  path = checkout / 'promptsource/templates' / data_set / 'templates.yaml'
  path.parent.mkdir(parents=True, exist_ok=True)
  lines = [f'dataset: {data_set}', 'templates:']
  for name, fields in templates.items():
    lines += [
      f'  {name}: !Template',
      f'    name: {name}',
      # JSON is YAML.
      f'    jinja: {json.dumps(fields["jinja"])}',
      f'    answer_choices: {json.dumps(fields.get("answer_choices"))}',
      '    metadata: !TemplateMetadata',
      f'      original_task: {json.dumps(fields.get("original_task", True))}',
    ]
  path.write_text('\n'.join(lines))
  return path


def write_rows(
  data_dir: pathlib.Path, name: str, splits: Mapping[str, list[dict[str, Any]]]
) -> None:
  """Writes a data set as TFDS does.

  Args:
    data_dir: Data dir of TFDS.
    name: Name of the data set, a key of `HELD_OUT`.
    splits: Rows of each split, but for their 'idx'.
  """
  builder = tfds.builder(HELD_OUT[name].tfds_name, data_dir=data_dir)
  features = builder.info.features

  tfds.dataset_builders.store_as_tfds_dataset(
    name=builder.name,
    version=builder.version,
    config=builder.builder_config and builder.builder_config.name,
    features=features,
    data_dir=data_dir,
    split_datasets={
      split: [
        (place, {**row, **({'idx': place} if 'idx' in features else {})})
        for place, row in enumerate(rows)
      ]
      for split, rows in splits.items()
    },
    disable_shuffling=True,
  )


# A few rows and templates for two of the data sets.
CB_ROWS = [
  {'premise': 'It rained.', 'hypothesis': 'It was wet.', 'label': 0},
  {'premise': 'The sun shone.', 'hypothesis': 'It rained.', 'label': 1},
  {'premise': 'It is late.', 'hypothesis': 'He sleeps.', 'label': 2},
  {'premise': 'It is early.', 'hypothesis': 'He wakes.', 'label': -1},
]
COPA_ROWS = [
  {
    'premise': 'The glass fell.',
    'question': question,
    'choice1': 'It broke.',
    'choice2': 'It was pushed.',
    'label': label,
  }
  for question, label in (('effect', 0), ('cause', 1))
]


def write_checkout(checkout: pathlib.Path) -> None:
  """Writes a template for each data set, none that T0 is evaluated with."""
  template = {'jinja': 'a ||| b', 'original_task': False}
  for data_set in HELD_OUT.values():
    write_templates(checkout, data_set.templates, {'a': template})


def write_all(
  folder: pathlib.Path, *, checkout: str = 'checkout', data: str = 'data'
) -> None:
  """Writes a checkout and data into a folder: CB and COPA, small."""
  write_checkout(folder / checkout)
  choices = 'Yes ||| No ||| Maybe'
  answer = '{% if label != -1 %}{{answer_choices[label]}}{% endif %}'
  write_templates(
    folder / checkout,
    'super_glue/cb',
    {
      'can we infer': {
        'jinja': f'{{{{premise}}}} So {{{{hypothesis}}}} True? ||| {answer}',
        'answer_choices': choices,
      },
      'guess it!': {
        'jinja': f'Guess: {{{{hypothesis}}}} {{{{premise}}}} ||| {answer}',
        'answer_choices': choices,
      },
      'backwards': {
        'jinja': '{{hypothesis}} ||| {{premise}}',
        'original_task': False,
      },
    },
  )
  write_templates(
    folder / checkout,
    'super_glue/copa',
    {
      'why': {
        'jinja': '{% if question == "cause" %}{{premise}} Why? |||'
        f'{answer}{{% endif %}}',
        'answer_choices': '{{choice1}} ||| {{choice2}}',
      },
    },
  )
  write_rows(folder / data, 'super_glue_cb', {'validation': CB_ROWS})
  write_rows(folder / data, 'super_glue_copa', {'validation': COPA_ROWS})


@pytest.fixture(name='folder', scope='module')
def p3_folder(tmp_path_factory):
  """A folder with a checkout of templates, and data sets in `data`."""
  folder = tmp_path_factory.mktemp('p3')
  write_all(folder)
  return folder


@pytest.fixture
def p3_data(folder, monkeypatch):
  """Lets TFDS find the data sets, and tokenises bytes."""
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  seqio.set_tfds_data_dir_override(os.fspath(folder / 'data'))
  yield
  seqio.set_tfds_data_dir_override(None)
