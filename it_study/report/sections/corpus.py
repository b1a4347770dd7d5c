"""The sections of a report on conditions of a corpus, in order."""

from it_study.evaluation import baselines
from it_study.report.arms import ALPHA, DATA, are_untuned, select
from it_study.report.figures import curve_figures, score_figures
from it_study.report.results import Results
from it_study.report.scores import CLS, GEN
from it_study.report.sections.section import (
  Section,
  make_section,
  population,
)
from it_study.report.tables import (
  background_tables,
  following_table,
  kept_table,
  parts_tables,
  samples_table,
  score_tables,
)
from it_study.report.text import number


def corpus_sections(results: Results) -> tuple[Section | None, ...]:
  """Returns the sections; None for those without anything to show."""
  return (
    _main(results),
    _original(results),
    _controls(results),
    _sweeps(results),
    _classification(results),
    _generation(results),
    _kept(results),
    _prior(results),
    _data(results),
    _surface(results),
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
  )


def _main(results: Results) -> Section | None:
  return make_section(
    'results',
    'Results on unseen tasks',
    f'{_tested(results)} '
    'Exact match and format are percentages of instances, ROUGE-L is in points '
    f'from 0 to 100; brackets hold 95% intervals over {population(results)}. '
    'Where all answers score alike, the interval follows from the number of '
    'tasks alone and says nothing about other seeds. '
    'Each number links to its predictions: exactly these if this page is '
    'opened through it-study view, otherwise the whole predictions file (of '
    'the first seed, if there are several).',
    score_tables.main_table(results),
  )


def _tested(results: Results) -> str:
  """Says what the models of the first table are tested with."""
  if are_untuned(results.arms):
    return 'One model, as it is, is tested with several kinds of instructions.'
  return 'Each model is tested with the kind of instructions it was trained on.'


def _original(results: Results) -> Section | None:
  if not select(results.arms, split='test', original=True):
    return None
  return make_section(
    'original',
    'Tested with the real instructions',
    'The same models, all tested with the original definition and original '
    'examples, whatever they were trained on.',
    score_tables.original_table(results),
  )


def _controls(results: Results) -> Section | None:
  return make_section(
    'controls',
    'Control tasks among the unseen tasks',
    'They count in no other table. Those of the positive control cannot be '
    'solved without reading the definition; in those of the negative control, '
    'the definition adds nothing.',
    score_tables.controls_table(results),
  )


def _sweeps(results: Results) -> Section | None:
  return make_section(
    'sweeps',
    'More training data',
    'A curve beats guessing where its exact match first rises above the '
    'expected score of a uniform guess on the same instances, interpolated '
    'between the amounts on a logarithmic scale. Brackets hold the 95% '
    f'interval over {population(results)}.',
    *curve_figures.curve_figures(results),
    curve_figures.crossing_table(results),
  )


def _matrix(results: Results) -> Section | None:
  return make_section(
    'matrix',
    'Trained on one condition, tested on another',
    'Exact match on unseen classification tasks, with 95% intervals. To add '
    'columns, run the study again in the same folder with '
    '--gin.TEST_CONDITIONS: only the missing cells run.',
    parts_tables.matrix_table(results),
  )


def _sensitivity(results: Results) -> Section | None:
  return make_section(
    'sensitivity',
    'What changes when only the instructions change',
    'The same model on the same instances: percentages of answers that differ '
    'between the real instructions and others at test time. Answers that exact '
    'match cannot tell apart count as equal. A model that ignores the '
    'instructions changes no answer.',
    parts_tables.sensitivity_table(results),
  )


def _classification(results: Results) -> Section | None:
  return make_section(
    'classification',
    'Classification: the effect of altering the instructions',
    'A positive difference means that the real instructions are better. '
    'p-values are adjusted for the number of comparisons (Holm). A difference '
    f'is shown if p is below {ALPHA:.0%}. Two conditions are equivalent if '
    'both one-sided tests rule out a difference of more than '
    f'{number(results.margin)} points either way, the margin this study fixed '
    'in advance. “Not shown” does not mean “no difference”: the line below it '
    'gives the largest difference that remains possible, with all comparisons '
    'held jointly at 95%. “Detectable” is the true difference that this design '
    'finds four times out of five.',
    score_figures.difference_figure(results),
    score_tables.difference_table(results, metric='exact_match', group=CLS),
  )


def _generation(results: Results) -> Section | None:
  return make_section(
    'generation',
    'Generation',
    'ROUGE-L on unseen generation tasks. The columns of the table are those of '
    'the one for classification.',
    score_figures.generation_figure(results),
    score_tables.difference_table(results, metric='rouge_l', group=GEN),
  )


def _kept(results: Results) -> Section | None:
  return make_section(
    'kept',
    'How much of the definition is needed',
    'Exact match on unseen classification tasks, with the same random share of '
    "the definition's words at training and at test. Words of a smaller share "
    'are among those of a larger one.',
    curve_figures.kept_figure(results),
    kept_table.kept_table(results),
  )


def _prior(results: Results) -> Section | None:
  return make_section(
    'prior',
    'Following the statement, or the prior',
    'Where a definition gives the labels other names, or exchanges them, an '
    'answer can follow that statement, or be what would be right without it. '
    'The percentages are of the unseen classification instances where the two '
    'differ. A model that reads the statement has a positive difference; one '
    'that goes by what it knows of the labels, a negative one.',
    following_table.following_table(results),
  )


def _data(results: Results) -> Section | None:
  return make_section(
    'data',
    'Wrong training targets, or no input',
    'The same instructions with other data: training targets that are '
    'exchanged among the instances of a task or drawn from its labels, or '
    'prompts without an instance, at training and at test. What a model still '
    'gets right then, it cannot have learned from pairs of input and output. '
    'The tables have the columns of the one for classification; the first '
    'holds exact match on classification tasks, the second ROUGE-L on '
    'generation tasks.',
    score_tables.difference_table(
      results, metric='exact_match', group=CLS, origin=DATA
    ),
    score_tables.difference_table(
      results, metric='rouge_l', group=GEN, origin=DATA
    ),
  )


def _surface(results: Results) -> Section | None:
  return make_section(
    'surface',
    'The same prompt with another surface',
    'Exact match on unseen classification tasks, where only separators and the '
    'casing of field names differ. An effect of the instructions that is no '
    'larger than this spread says little about instructions.',
    score_tables.surface_table(results),
  )


def _categories(results: Results) -> Section | None:
  return make_section(
    'categories',
    'By category',
    'Each category is scored by the metric that the authors of '
    'Super-NaturalInstructions use for it. Their division differs from the one '
    'into classification and generation, which is made task by task. With a '
    f'single task, an interval covers only that task.{_abstentions(results)}',
    score_tables.category_table(results),
  )


def _abstentions(results: Results) -> str:
  """Explains why a baseline's categories do not add up to its headline."""
  arms = select(results.arms, split='test', baselines=True)
  if not any(
    baselines.leaves_out_categories(arm.cells[0].metrics) for arm in arms
  ):
    return ''
  return (
    ' Baselines that draw labels do not answer generation tasks: a category '
    'that contains any shows a dash for them, although its classification '
    'tasks count in their headline score. Their categories therefore do not '
    'add up to it.'
  )


def _grid(results: Results) -> Section | None:
  return make_section(
    'grid',
    'Differences by category',
    'Every comparison in every category. Among so many, some look large by '
    f'chance: Holm keeps the probability of any false claim at {ALPHA:.0%}, '
    'Benjamini and Hochberg the expected share of false claims among those '
    'made. With a single task, an interval covers only that task.',
    score_tables.grid_table(results),
    is_folded=True,
  )


def _tasks(results: Results) -> Section | None:
  return make_section(
    'tasks', 'By task', score_tables.task_table(results), is_folded=True
  )


def _format(results: Results) -> Section | None:
  left_out = parts_tables.left_out_table(results)
  return make_section(
    'format',
    'Knowing what an answer looks like',
    'A model can learn the form of an answer without learning the task. Its '
    'answers are then in format, but right only as often as a guess.',
    score_figures.format_figure(results),
    parts_tables.EXPLANATION,
    parts_tables.decomposition_table(results),
    None
    if left_out is None
    else 'Special tokens, such as sentinels, and the unknown token are left '
    'out of answers before they are scored, as Tk-Instruct leaves them out:',
    left_out,
  )


def _skill(results: Results) -> Section | None:
  return make_section(
    'skill',
    'Form and knowledge by category and task',
    'The columns are the same as above.',
    parts_tables.skill_table(results),
    is_folded=True,
  )


def _validation(results: Results) -> Section | None:
  if not any(arm.split == 'validation' for arm in results.arms):
    return None
  return make_section(
    'validation',
    'Held-out instances of training tasks',
    'The tasks were seen in training, but these instances were not. Control '
    'tasks are shown separately and count in no other column.',
    score_tables.validation_table(results),
  )


def _baselines(results: Results) -> Section | None:
  rules = background_tables.label_rules_table(results.study.run)
  return make_section(
    'baselines',
    'Baselines',
    'Scores that need no model. “Expected” is the mean exact match of drawing '
    'labels, in closed form, with the standard deviation (SD) of a single '
    'draw.',
    background_tables.baseline_table(results),
    None
    if rules is None
    else 'Which test tasks count as classification is a choice, and the '
    'expected score of guessing depends on it:',
    rules,
  )


def _samples(results: Results) -> Section | None:
  return make_section(
    'samples',
    'What the models answer',
    'One instance of each of a few test tasks, both chosen by hash.',
    samples_table.samples_table(results),
    is_folded=True,
  )


def _sources(results: Results) -> Section | None:
  return make_section(
    'sources',
    'Where delusive examples come from',
    'Delusive examples have valid inputs and valid outputs that are wrongly '
    'paired.',
    background_tables.sources_table(results.study.run),
  )


def _published(results: Results) -> Section | None:
  return make_section(
    'paper',
    "The paper's figures, for reference",
    'From the abstract of Kung and Peng, “Do Models Really Learn to Follow '
    'Instructions? An Empirical Study of Instruction Tuning” (ACL 2023). These '
    "figures were measured with the paper's model and data and are not a "
    "target for this study. The paper's gain of about 30 points holds for "
    'random guessing and for low-resource tuning alike.',
    background_tables.published_table(results),
  )
