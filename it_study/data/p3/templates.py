"""Reads the prompt templates of a checkout of promptsource."""

from collections.abc import Mapping
import dataclasses
import os
import pathlib
from typing import Any

import yaml

from it_study.errors import InputError, nearest, shown

_FOLDER = pathlib.PurePath('promptsource', 'templates')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Template:
  """A prompt template of promptsource.

  Attributes:
    data_set: Folder of its data set, such as 'super_glue/cb'.
    name: Name, unique among the templates of its data set.
    jinja: Jinja of the prompt and, after `|||`, the target.
    answer_choices: Jinja of the answer choices, `|||` between them; None if the
      answer is free.
    original_task: Whether it asks for what the data set was made for.
  """

  data_set: str
  name: str
  jinja: str
  answer_choices: str | None
  original_task: bool

  def __str__(self) -> str:
    return f'template {self.name!r} of {self.data_set}'


def read_templates(
  checkout: str | os.PathLike, data_set: str
) -> list[Template]:
  """Reads the templates of a data set, in the order of their file.

  Args:
    checkout: Folder of a checkout of bigscience-workshop/promptsource.
    data_set: Folder of the data set, such as 'super_glue/cb'.

  Raises:
    InputError: If there is no such file, or it is not one of templates.
  """
  folder = pathlib.Path(checkout) / _FOLDER
  path = folder / data_set / 'templates.yaml'
  if not folder.is_dir():
    raise InputError(
      f'{folder} is not a folder; name the root of a checkout of '
      'bigscience-workshop/promptsource.'
    )
  try:
    content = yaml.load(path.read_bytes(), _Loader)
  except FileNotFoundError:
    known = [
      file.parent.relative_to(folder).as_posix()
      for file in folder.rglob('templates.yaml')
    ]
    raise InputError(
      f'{path}: no such file.{nearest(data_set, known)}'
    ) from None
  except (yaml.YAMLError, UnicodeDecodeError) as error:
    raise InputError(f'{path}: {" ".join(str(error).split())}') from None
  templates = content.get('templates') if isinstance(content, dict) else None
  if not isinstance(templates, dict):
    raise InputError(f"{path}: it has no mapping 'templates'.")
  read = [_template(fields, data_set, path) for fields in templates.values()]
  names = [template.name for template in read]
  repeated = [name for name in names if names.count(name) > 1]
  if repeated:
    raise InputError(f'{path}: two templates are named {repeated[0]!r}.')
  return read


def _template(fields: Any, data_set: str, path: pathlib.Path) -> Template:
  """Returns a template; raises `InputError` if a field is missing or wrong."""
  if not isinstance(fields, Mapping):
    raise InputError(f'{path}: {shown(fields)} is not a template.')
  metadata = fields.get('metadata')
  original_task = isinstance(metadata, Mapping) and metadata.get(
    'original_task'
  )
  for field, is_optional in (
    ('name', False),
    ('jinja', False),
    ('answer_choices', True),
  ):
    value = fields.get(field)
    if not (isinstance(value, str) or (is_optional and value is None)):
      raise InputError(
        f'{path}: template {shown(fields.get("name"))}: {field} is '
        f'{shown(value)}; expected a text.'
      )
  return Template(
    data_set=data_set,
    name=fields['name'],
    jinja=fields['jinja'],
    answer_choices=fields.get('answer_choices'),
    original_task=original_task is True,
  )


class _Loader(yaml.SafeLoader):
  """Reads promptsource's objects as mappings, and constructs no other."""


for _tag in ('!Template', '!TemplateMetadata'):
  _Loader.add_constructor(
    _tag, lambda loader, node: loader.construct_mapping(node, deep=True)
  )
