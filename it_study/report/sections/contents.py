"""The contents of a report, in order; `formats` renders them."""

import dataclasses
import pathlib
import shlex

from it_study.report import answer, controls, own_answer
from it_study.report.answer import Answer
from it_study.report.arms import are_untuned
from it_study.report.controls import Control
from it_study.report.curves import find_curves
from it_study.report.figures import score_figures
from it_study.report.figures.score_figures import Figure
from it_study.report.results import Results
from it_study.report.sections.corpus import corpus_sections
from it_study.report.sections.own_tasks import own_sections
from it_study.report.sections.section import Code, Section, make_section
from it_study.report.tables import background_tables, facts_table
from it_study.report.text import count, join, shorten


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
  """A report as data.

  Attributes:
    title: Question of the study.
    subtitle: One line on what was studied.
    answer: Verdict, evidence, caveats and outcomes of the controls.
    no_controls: Explanation to show if there are no controls; empty for own
      tasks, which have none.
    headline: Figure at the top; None without a tested model.
    notes: Missing or inconsistent data, one sentence each.
    sections: Sections, in order.
  """

  title: str
  subtitle: str
  answer: Answer
  no_controls: str
  headline: Figure | None
  notes: tuple[str, ...]
  sections: tuple[Section, ...]

  @property
  def fatal_controls(self) -> tuple[Control, ...]:
    """The failed controls that leave the study without an answer."""
    return controls.fatal(self.answer.controls)


_TITLE = 'Did the models learn to follow instructions, or to guess?'
_UNTUNED_TITLE = 'Does this model follow instructions, or guess?'
_OWN_TITLE = 'How well do the models do on these tasks?'


def make_report(results: Results) -> Report:
  """Assembles the report of a study's results."""
  of_corpus = results.of_corpus()
  sections = (
    *(corpus_sections(of_corpus) if of_corpus.arms else ()),
    *own_sections(results.of_own_tasks()),
    _training(results),
    _how(results),
  )
  return Report(
    title=title(results),
    subtitle=_subtitle(results),
    answer=answer_of(results),
    no_controls=controls.no_controls(of_corpus.arms) if of_corpus.arms else '',
    headline=score_figures.headline_figure(of_corpus),
    notes=results.notes,
    sections=tuple(section for section in sections if section is not None),
  )


def answer_of(results: Results) -> Answer:
  """Returns the outcome of a study in words."""
  of_corpus, own = results.of_corpus(), results.of_own_tasks()
  if not of_corpus.arms:
    return own_answer.answer(own)
  found = answer.answer(
    of_corpus.arms,
    margin=results.margin,
    control_margins=results.control_margins,
    curves=find_curves(of_corpus),
  )
  # Both may warn of the same training targets.
  warnings = dict.fromkeys((*found.warnings, *own_answer.warnings(own)))
  return dataclasses.replace(found, warnings=tuple(warnings))


def title(results: Results) -> str:
  """Returns the question that a study's report answers."""
  arms = results.of_corpus().arms
  if not arms:
    return _OWN_TITLE
  return _UNTUNED_TITLE if are_untuned(arms) else _TITLE


def _training(results: Results) -> Section | None:
  return make_section(
    'training', 'Training', score_figures.loss_figure(results)
  )


def _how(results: Results) -> Section | None:
  study = results.study
  name = shlex.quote(study.directory.name or '.')
  commands = [
    f'it-study study --gin_file={name}/study.gin --study_dir={name}',
    f'it-study report {name}',
  ]
  return make_section(
    'setup',
    'How it was run',
    facts_table.facts_table(results),
    'The first command resumes the study: finished cells are not run again (in '
    'a new folder, all cells run). The second command rebuilds only the '
    'report.',
    Code('\n'.join(commands)),
    'Every cell, with its predictions:',
    background_tables.cells_table(results),
    None if study.config is None else 'The configuration, study.gin:',
    None if study.config is None else Code(study.config.strip()),
    is_folded=True,
  )


def _subtitle(results: Results) -> str:
  run = results.study.run
  parts = []
  if isinstance(run.get('corpus'), str):
    parts.append(shorten(pathlib.PurePath(run['corpus']).name, 80))
  stats = run.get('corpus_stats')
  if isinstance(stats, dict):
    for key, noun in (
      ('train_tasks', 'training task'),
      ('test_tasks', 'test task'),
    ):
      if isinstance(stats.get(key), int):
        parts.append(count(stats[key], noun))
  own = run.get('test_tasks')
  if isinstance(own, dict):
    parts.append(f'tested on {shorten(join([*map(str, own)]), 80)}')
  trainings = {
    cell.training for arm in results.arms for cell in arm.cells if cell.training
  }
  is_untuned = are_untuned(results.arms)
  parts.append(
    'an untuned model' if is_untuned else count(len(trainings), 'training')
  )
  if isinstance(run.get('device'), str):
    parts.append(shorten(run['device'], 60))
  return ' · '.join(parts)
