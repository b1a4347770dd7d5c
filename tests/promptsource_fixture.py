"""Writes checkouts of promptsource with templates of the tests' own."""

from collections.abc import Mapping
import json
import pathlib


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
