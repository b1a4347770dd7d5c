"""What a report says, in order; `html_page` and `markdown` write it down."""

import dataclasses
import pathlib
import shlex

from it_study.evaluation import baselines
from it_study.report import answer
from it_study.report.answer import Answer, Control
from it_study.report.arms import select
from it_study.report.curves import find_curves
from it_study.report.figures import curve_figures, score_figures
from it_study.report.figures.score_figures import Figure
from it_study.report.results import Results, seeds_of
from it_study.report.scores import CLS, GEN
from it_study.report.tables import (
  background_tables,
  facts_table,
  parts_tables,
  samples_table,
  score_tables,
)
from it_study.report.tables.table import Table
from it_study.report.text import count, number, shorten


@dataclasses.dataclass(frozen=True)
class Code:
  """Text to show as it is, line by line."""

  text: str


Block = str | Table | Figure | Code


@dataclasses.dataclass(frozen=True)
class Section:
  """A heading and what stands below: paragraphs, tables, figures, code."""

  name: str
  title: str
  blocks: tuple[Block, ...]
  is_folded: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
  """All of a report, as data.

  Attributes:
    subtitle: what was studied, in a line.
    answer: verdict, sentence, caveats.
    controls: empty if the corpus has none, or none was tested.
    no_controls: what to say where there are none.
    headline: the one figure at the top.
    notes: what is missing or does not fit, one sentence each.
    sections: the rest, in order.
  """

  subtitle: str
  answer: Answer
  controls: tuple[Control, ...]
  no_controls: str
  headline: Figure | None
  notes: tuple[str, ...]
  sections: tuple[Section, ...]

  @property
  def failed_controls(self) -> tuple[Control, ...]:
    return tuple(c for c in self.controls if c.status == answer.FAILED)


TITLE = 'Did the models learn to follow instructions, or to guess?'


def make_report(results: Results) -> Report:
  """Puts a study's results in the order in which they are to be read."""
  sections = (
    _main(results),
    _original(results),
    _sweeps(results),
    _classification(results),
    _generation(results),
    _matrix(results),
    _sensitivity(results),
    _categories(results),
    _grid(results),
    _tasks(results),
    _format(results),
    _skill(results),
    _validation(results),
    _baselines(results),
    _samples(results),
    _sources(results),
    _published(results),
    _training(results),
    _how(results),
  )
  return Report(
    subtitle=_subtitle(results),
    answer=answer.answer(
      results.arms, margin=results.margin, curves=find_curves(results)
    ),
    controls=answer.controls(results.arms),
    no_controls=answer.no_controls(results.arms),
    headline=score_figures.headline_figure(results),
    notes=results.notes,
    sections=tuple(section for section in sections if section is not None),
  )


def _section(
  name: str, title: str, *blocks: Block | None, is_folded: bool = False
) -> Section | None:
  """A section; None if it would hold no more than words."""
  kept = tuple(block for block in blocks if block is not None)
  if all(isinstance(block, str) for block in kept):
    return None
  return Section(name, title, kept, is_folded)


def _main(results: Results) -> Section | None:
  return _section(
    'results',
    'Results on unseen tasks',
    'Each model is tested as it was trained. Percentages of instances for '
    'exact match and format, points from 0 to 100 for ROUGE-L; in brackets, '
    f'95% intervals over {population(results)}. A number links to the '
    'predictions behind it, of several seeds to those of the first: open this '
    'page from it-study view to see exactly these, or else their whole file.',
    score_tables.main_table(results),
  )


def population(results: Results) -> str:
  """What the intervals speak of."""
  cells = [cell for arm in results.arms for cell in arm.cells]
  return 'seeds and tasks' if len(seeds_of(cells)) > 1 else 'tasks'


def _original(results: Results) -> Section | None:
  if not select(results.arms, split='test', original=True):
    return None
  return _section(
    'original',
    'Tested with the real instructions',
    'The same models, all of them given the original definition and original '
    'examples at test time, whatever they were trained on.',
    score_tables.original_table(results),
  )


def _sweeps(results: Results) -> Section | None:
  return _section(
    'sweeps',
    'More training data',
    'A curve beats guessing where its exact match first lies above what a '
    'uniform guess is expected to score on the same instances, read off '
    'between the amounts on a logarithmic scale; in brackets, the 95% '
    f'interval over {population(results)}.',
    *curve_figures.curve_figures(results),
    curve_figures.crossing_table(results),
  )


def _matrix(results: Results) -> Section | None:
  return _section(
    'matrix',
    'Trained on one thing, tested on another',
    'Exact match on unseen classification tasks, with 95% intervals. Further '
    'columns come with --gin.TEST_CONDITIONS, into the same folder: only the '
    'cells that are missing run.',
    parts_tables.matrix_table(results),
  )


def _sensitivity(results: Results) -> Section | None:
  return _section(
    'sensitivity',
    'What changes when only the instruction does',
    'One model, the same instances: shares of answers that differ between the '
    'real instructions and others at test time, as far as exact match can tell '
    'answers apart. A model that does not read them changes none.',
    parts_tables.sensitivity_table(results),
  )


def _classification(results: Results) -> Section | None:
  return _section(
    'classification',
    'Classification: what altering the instructions does',
    'A positive difference means that the real instructions are better. '
    'p-values are adjusted for the number of comparisons (Holm); “shown” '
    'asks for one below 5%. “Equivalent” asks that both one-sided tests '
    f'rule out more than {number(results.margin)} points either way, the '
    'margin that this study fixed beforehand. “Not shown” is not the same '
    'as “no difference”: what remains possible, when all comparisons '
    'are to hold at once at 95%, stands below it. Detectable: the true '
    'difference that this design finds four times out of five.',
    score_figures.difference_figure(results),
    score_tables.difference_table(results, metric='exact_match', group=CLS),
  )


def _generation(results: Results) -> Section | None:
  return _section(
    'generation',
    'Generation',
    'Differences are read as above.',
    score_figures.generation_figure(results),
    score_tables.difference_table(results, metric='rouge_l', group=GEN),
  )


def _categories(results: Results) -> Section | None:
  return _section(
    'categories',
    'By category',
    "Each category by the metric that Super-NaturalInstructions' authors judge "
    'it by. That split differs from the one into classification and '
    'generation, which goes by task. With one task, an interval speaks of '
    'that task alone.'
    f'{_abstentions(results)}',
    score_tables.category_table(results),
  )


def _abstentions(results: Results) -> str:
  """Why a baseline's categories do not add up to its headline, if so."""
  arms = select(results.arms, split='test', baselines=True)
  if not any(
    baselines.leaves_out_categories(arm.cells[0].metrics) for arm in arms
  ):
    return ''
  return (
    ' Baselines that draw labels answer no generation: a category that holds '
    'any has a dash for them, while its classification tasks do count in their '
    'headline. So their categories do not add up to it.'
  )


def _grid(results: Results) -> Section | None:
  return _section(
    'grid',
    'Differences by category',
    'Every comparison in every category. Of so many some look large by chance: '
    'Holm holds the chance of any false claim among all of them at 5%, '
    'Benjamini and Hochberg the expected share of false ones among those '
    'claimed. A category of one task speaks of that task alone.',
    score_tables.grid_table(results),
    is_folded=True,
  )


def _tasks(results: Results) -> Section | None:
  return _section(
    'tasks', 'By task', score_tables.task_table(results), is_folded=True
  )


def _format(results: Results) -> Section | None:
  return _section(
    'format',
    'Knowing what an answer looks like',
    'A model can learn the form of an answer without learning the task: its '
    'answers are then in format, and right as often as a guess.',
    score_figures.format_figure(results),
    parts_tables.EXPLANATION,
    parts_tables.decomposition_table(results),
  )


def _skill(results: Results) -> Section | None:
  return _section(
    'skill',
    'Form and knowledge by category and task',
    'Columns are read as above.',
    parts_tables.skill_table(results),
    is_folded=True,
  )


def _validation(results: Results) -> Section | None:
  if not any(arm.split == 'validation' for arm in results.arms):
    return None
  return _section(
    'validation',
    'Held-out instances of training tasks',
    'The tasks were seen in training, these instances were not. Control tasks '
    'stand apart and enter no other column.',
    score_tables.validation_table(results),
  )


def _baselines(results: Results) -> Section | None:
  rules = background_tables.label_rules_table(results.study.run)
  return _section(
    'baselines',
    'Baselines',
    'What is scored without a model. “Expected” is the exact match that '
    'drawing labels gives on average, in closed form, with the standard '
    'deviation (SD) of a single draw.',
    background_tables.baseline_table(results),
    None
    if rules is None
    else 'How many test tasks count as classification is a choice, and '
    'guessing moves with it:',
    rules,
  )


def _samples(results: Results) -> Section | None:
  return _section(
    'samples',
    'What the models answer',
    'One instance each of a few test tasks, chosen by a hash of its name.',
    samples_table.samples_table(results),
    is_folded=True,
  )


def _sources(results: Results) -> Section | None:
  return _section(
    'sources',
    'Where delusive examples come from',
    'Delusive examples have valid inputs and valid outputs, wrongly paired.',
    background_tables.sources_table(results.study.run),
  )


def _published(results: Results) -> Section | None:
  return _section(
    'paper',
    "The paper's figures, for reference",
    'From the abstract of Kung and Peng, “Do Models Really Learn to Follow '
    'Instructions? An Empirical Study of Instruction Tuning” (ACL 2023). They '
    "are the paper's, measured on its model and its data, and no target for "
    'this study. Its gain of about 30 points holds for random guessing and for '
    'low-resource tuning alike.',
    background_tables.published_table(results),
  )


def _training(results: Results) -> Section | None:
  return _section('training', 'Training', score_figures.loss_figure(results))


def _how(results: Results) -> Section | None:
  study = results.study
  name = shlex.quote(study.directory.name or '.')
  commands = [
    f'it-study study --gin_file={name}/study.gin --study_dir={name}',
    f'it-study report {name}',
  ]
  return _section(
    'setup',
    'How it was run',
    facts_table.facts_table(results),
    'Finished cells are not run again; a new folder runs all of them. The '
    'report alone is made anew by the second command.',
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
  trainings = {
    cell.training for arm in results.arms for cell in arm.cells if cell.training
  }
  parts.append(count(len(trainings), 'training'))
  if isinstance(run.get('device'), str):
    parts.append(shorten(run['device'], 60))
  return ' · '.join(parts)
