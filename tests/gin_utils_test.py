"""Tests of it_study.gin_utils: checks and messages that gin lacks."""

import contextlib
import dataclasses
import functools

import gin
import pytest

from it_study import gin_utils
from it_study.errors import InputError


def bake(*, flour=1, sugar=0, oven=None):
  return flour, sugar, oven


@dataclasses.dataclass(frozen=True)
class Oven:
  heat: int = 180


GIN = """
include 'oven.gin'
FLOUR = 3
SUGAR = %gin.REQUIRED
GUEST = 'nobody'
bake.flour = %FLOUR
bake.sugar = %SUGAR
bake.oven = @Oven()
"""


@pytest.fixture(name='folder')
def _folder(tmp_path, monkeypatch):
  (tmp_path / 'cake.gin').write_text(GIN)
  (tmp_path / 'oven.gin').write_text('HEAT = 200\nOven.heat = %HEAT\n')
  monkeypatch.chdir(tmp_path)
  return tmp_path


def load(*bindings, files=('cake.gin',), **settings):
  return gin_utils.load(
    files=files,
    bindings=['SUGAR=2', *bindings],
    configurables=[bake, Oven],
    read=('GUEST',),
    **settings,
  )


def refusal(*bindings, **settings) -> str:
  with pytest.raises(InputError) as caught:
    load(*bindings, **settings)
  assert '\n' not in str(caught.value)
  return str(caught.value)


def test_files_includes_and_bindings_apply(folder):
  load('FLOUR=5', 'Oven.heat=90')
  assert gin_utils.configured('bake')() == (5, 2, Oven(90))
  assert gin_utils.macro('GUEST') == 'nobody'
  assert gin_utils.macro('FLOUR') == 5
  assert gin_utils.macro('NONE_SUCH') is None


def test_the_last_binding_wins(folder):
  load('FLOUR=5', 'FLOUR=6')
  assert gin_utils.configured('bake')()[0] == 6


def test_a_parameter_bound_twice_leaves_its_macro_behind(folder):
  (folder / 'mine.gin').write_text("include 'cake.gin'\nOven.heat = 1\n")
  long = repr({f'a long key {i}': i for i in range(9)})
  load(f'FLOUR={long}', files=['mine.gin'])
  assert gin_utils.configured('bake')()[0]['a long key 8'] == 8
  text = load(f'FLOUR={long}', 'bake.flour=7', files=['mine.gin'])
  assert gin_utils.configured('bake')() == (7, 2, Oven(1))
  # With unused macros, the text would not parse again.
  assert 'FLOUR' not in text
  assert 'HEAT' not in text
  (folder / 'saved.gin').write_text(text)
  assert load(files=['saved.gin']) == text


def test_a_configuration_replaces_the_previous_one(folder):
  load('FLOUR=5')
  load()
  assert gin_utils.configured('bake')() == (3, 2, Oven(200))


def test_the_text_parses_to_the_same_text(folder):
  text = load('FLOUR=5', "GUEST=it's 100% @home", 'bake.oven=@Oven()')
  (folder / 'saved.gin').write_text(text)
  again = gin_utils.load(
    files=['saved.gin'], configurables=[bake, Oven], read=('GUEST',)
  )
  assert again == text
  assert gin_utils.configured('bake')() == (5, 2, Oven(200))
  assert gin_utils.macro('GUEST') == "it's 100% @home"


def test_a_saved_configuration_that_is_damaged_is_named(folder):
  text = load('FLOUR=5', 'GUEST=me')
  saved = folder / 'saved.gin'
  read = functools.partial(
    gin_utils.load,
    files=['saved.gin'],
    configurables=[bake, Oven],
    read=('GUEST',),
  )
  for end in range(len(text)):
    saved.write_text(text[:end])
    # A cut at the end of a line may leave a whole configuration.
    with contextlib.suppress(InputError):
      read()
      continue
    with pytest.raises(InputError, match=r'saved\.gin'):
      read()
  saved.write_text(text.replace('GUEST', 'GUES'))
  with pytest.raises(InputError) as caught:
    read()
  assert str(caught.value) == (
    "gin macro 'GUES' is set but not used. Did you mean 'GUEST'? Macros in "
    'use: FLOUR, GUEST, HEAT, SUGAR. It is set in saved.gin.'
  )
  saved.write_text(text.replace("GUEST = 'me'\n", ''))
  with pytest.raises(InputError) as caught:
    read()
  assert str(caught.value) == (
    "gin macro 'GUEST' is required but not set. Set it with --gin.GUEST=VALUE "
    'or in a gin file. The files under runs/ set defaults: add one with '
    '--gin_file. saved.gin may be cut short.'
  )


def test_a_file_beside_the_one_that_includes_it(folder):
  (folder / 'mine').mkdir()
  (folder / 'mine/outer.gin').write_text("include 'inner.gin'\n")
  (folder / 'mine/inner.gin').write_text("GUEST = 'me'\n")
  load_outer = functools.partial(
    gin_utils.load,
    files=['mine/outer.gin'],
    configurables=[bake, Oven],
    read=('GUEST',),
  )
  with pytest.raises(InputError) as caught:
    load_outer()
  assert str(caught.value) == (
    "gin file mine/outer.gin: included file 'inner.gin' is beside it, but "
    'files are looked up in the working directory and in search paths. Add '
    '--gin_search_paths=mine.'
  )
  load_outer(search_paths=['mine'])
  assert gin_utils.macro('GUEST') == 'me'


def test_a_misspelt_macro(folder):
  assert refusal('FLUOR=5') == (
    "gin macro 'FLUOR' is set but not used. Did you mean 'FLOUR'? Macros in "
    'use: FLOUR, GUEST, HEAT, SUGAR.'
  )


def test_a_required_macro(folder):
  with pytest.raises(InputError) as caught:
    gin_utils.load(
      files=['cake.gin'], configurables=[bake, Oven], read=('GUEST', 'HOST')
    )
  assert str(caught.value) == (
    "gin macro 'HOST' is required but not set (also missing: SUGAR). Set it "
    'with --gin.HOST=VALUE or in a gin file. The files under runs/ set '
    'defaults: add one with --gin_file.'
  )


def test_supplied_macros_may_be_unset(folder):
  gin_utils.load(
    files=['cake.gin'],
    configurables=[bake, Oven],
    read=('GUEST',),
    supplied=('SUGAR',),
  )
  assert gin_utils.configured('bake')(sugar=9)[1] == 9


def test_a_required_macro_may_be_bypassed(folder):
  gin_utils.load(
    files=['cake.gin'],
    bindings=['bake.sugar=9'],
    configurables=[bake, Oven],
    read=('GUEST',),
  )
  assert gin_utils.configured('bake')()[1] == 9


def test_a_reference_to_a_misspelt_macro(folder):
  assert refusal('bake.flour=%FLOR', 'FLOUR=1') == (
    "gin macro 'FLOR' is used but not set. Did you mean 'FLOUR'?"
  )


def test_a_missing_file(folder):
  message = refusal(files=['studies/minature.gin'])
  assert message.startswith(
    "no gin file 'studies/minature.gin' in the working directory or "
    f"{gin_utils.CONFIG_DIRECTORY}. Did you mean 'studies/miniature.gin'? "
    'Shipped files: models/gemma3_1b.gin, models/llama3_1_8b.gin, '
  )


@pytest.mark.parametrize('name', ['', '.', 'a_module_that_is_none'])
def test_a_name_of_no_file(folder, name):
  assert refusal(files=[name]).startswith(
    f'no gin file {name!r} in the working directory or '
  )


@pytest.mark.parametrize('name', ['t5x/finetune.gin', 't5x/lm_xl_finetune.gin'])
def test_a_file_for_t5x_alone(folder, name):
  assert refusal(files=[name]) == (
    f'gin file {name} is for T5X alone: pass it to python -m t5x.main, as its '
    'first lines show. With --engine t5x, T5X runs the same files as the '
    'native engine.'
  )


def test_a_missing_include(folder):
  (folder / 'mine.gin').write_text("include 'runs/studdy.gin'\n")
  assert refusal(files=['mine.gin']) == (
    "gin file mine.gin: included file 'runs/studdy.gin' is neither in the "
    f'working directory nor in {gin_utils.CONFIG_DIRECTORY}. Did you mean '
    "'runs/study.gin'?"
  )


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (b'X = (1,\n', 'a bracket or a string is not closed.'),
    (
      b'these are words\n',
      "Couldn't parse statement, expected ':' or '='. (mine.gin, line 1)",
    ),
    (b'\xff\xfe = 1\n', 'the file is not UTF-8 text.'),
    (
      b'import no_such_module\n',
      'No module named \'no_such_module\' In file "mine.gin", line 1 import '
      'no_such_module',
    ),
  ],
)
def test_a_file_that_does_not_parse(folder, content, message):
  (folder / 'mine.gin').write_bytes(content)
  assert refusal(files=['mine.gin']) == f'gin file mine.gin: {message}'


@pytest.mark.parametrize(
  ('files', 'loop'),
  [
    ({'mine.gin': 'mine.gin'}, 'mine.gin -> mine.gin'),
    (
      {'mine.gin': 'a.gin', 'a.gin': 'b.gin', 'b.gin': 'a.gin'},
      'a.gin -> b.gin -> a.gin',
    ),
    ({'mine.gin': 'a.gin', 'a.gin': './a.gin'}, 'a.gin -> ./a.gin'),
  ],
)
def test_includes_in_a_loop(folder, files, loop):
  for name, included in files.items():
    (folder / name).write_text(f"include '{included}'\n")
  assert refusal(files=['mine.gin']) == (
    f'gin file mine.gin: files include each other in a loop, {loop}. Remove '
    'one of these includes.'
  )


def test_a_file_may_be_included_twice(folder):
  (folder / 'mine.gin').write_text("include 'cake.gin'\ninclude 'cake.gin'\n")
  load(files=['mine.gin'])
  assert gin_utils.configured('Oven')() == Oven(200)


def test_a_module_in_a_name_as_t5x_writes_it(folder):
  assert refusal('kitchen.Oven.heat=1') == (
    "--gin.kitchen.Oven.heat = 1: 'kitchen.Oven' is not configurable. Did you "
    "mean 'Oven.heat'? Configurables: bake, Oven."
  )
  assert refusal('bake.oven=@kitchen.Oven()') == (
    "--gin.bake.oven = @kitchen.Oven(): 'kitchen.Oven' is not configurable. "
    "Did you mean 'Oven'? Configurables: bake, Oven."
  )


def test_an_unknown_configurable(folder):
  assert refusal('bakke.flour=1') == (
    "--gin.bakke.flour = 1: 'bakke' is not configurable. Did you mean 'bake'? "
    'Configurables: bake, Oven.'
  )
  assert refusal('bake.oven=@Ovn()') == (
    "--gin.bake.oven = @Ovn(): 'Ovn' is not configurable. Did you mean 'Oven'? "
    'Configurables: bake, Oven.'
  )


def test_an_unknown_parameter(folder):
  assert refusal('bake.flor=1') == (
    "--gin.bake.flor = 1: bake has no parameter 'flor'. Did you mean 'flour'?"
  )
  assert refusal('Oven.heet=1') == (
    "--gin.Oven.heet = 1: Oven has no parameter 'heet'. Did you mean 'heat'?"
  )


@pytest.mark.parametrize(
  ('binding', 'quoted'),
  [
    ('A=/tmp/a b', "A = '/tmp/a b'"),
    ('A=gs://bucket/x', "A = 'gs://bucket/x'"),
    ('A=natinst_def_empty_ex_empty0', "A = 'natinst_def_empty_ex_empty0'"),
    ('A=/data/run@3/50%', "A = '/data/run@3/50%'"),
    ("A=it's", 'A = "it\'s"'),
    ('A=k=v', "A = 'k=v'"),
    ('A = 8', 'A = 8'),
    ('A=1e-3', 'A = 1e-3'),
    ('A=-1', 'A = -1'),
    ('A=None', 'A = None'),
    ('A=False', 'A = False'),
    ("A='tasks'", "A = 'tasks'"),
    ("A={'inputs': 4, 'targets': 2}", "A = {'inputs': 4, 'targets': 2}"),
    ('A=(1, %B)', 'A = (1, %B)'),
    ('A=@adamw()', 'A = @adamw()'),
    ('a/b.c=%D', 'a/b.c = %D'),
  ],
)
def test_only_bare_text_is_quoted(binding, quoted):
  assert gin_utils.quote_binding(binding) == quoted


@pytest.mark.parametrize(
  ('binding', 'quoted'),
  [
    ('A=2024_01_15', "A = '2024_01_15'"),
    ('A=1e5', "A = '1e5'"),
    ('A=True', "A = 'True'"),
    ('A=(old)', "A = '(old)'"),
    ('A=None', 'A = None'),
    ("A='2024'", "A = '2024'"),
    ('A=%B', 'A = %B'),
    ('B=2024_01_15', 'B = 2024_01_15'),
  ],
)
def test_a_macro_that_is_a_path_is_text(binding, quoted):
  assert gin_utils.quote_binding(binding, texts=('A',)) == quoted


@pytest.mark.parametrize('binding', ['A', '=1', 'A=', 'A B=1', ''])
def test_invalid_bindings(binding):
  with pytest.raises(InputError) as caught:
    gin_utils.quote_binding(binding)
  assert str(caught.value) == (f'--gin.{binding}: expected --gin.NAME=value.')


@pytest.mark.parametrize(
  ('value', 'advised'), [('true', 'True'), ('false', 'False'), ('none', 'None')]
)
def test_a_truth_value_in_lower_case(value, advised):
  with pytest.raises(InputError) as caught:
    gin_utils.quote_binding(f'PACK={value}')
  assert str(caught.value) == (
    f'--gin.PACK={value}: write --gin.PACK={advised}.'
  )
  quoted = gin_utils.quote_binding(f'A={value}', texts=('A',))
  assert quoted == f"A = '{value}'"


def test_an_open_bracket_in_a_binding(folder):
  assert refusal('FLOUR=(1,') == (
    '--gin.FLOUR = (1,: a bracket or a string is not closed.'
  )


def test_a_gin_file_is_not_looked_up_in_packages(folder, monkeypatch):
  monkeypatch.syspath_prepend(folder)
  (folder / 'shop').mkdir()
  (folder / 'files/shop').mkdir(parents=True)
  (folder / 'files/shop/cake.gin').write_text(GIN)
  load(files=('shop/cake.gin',), search_paths=('files',))
  assert gin_utils.configured('bake')() == (3, 2, Oven(200))


def test_search_paths_come_before_the_shipped_files(folder, tmp_path):
  mine = tmp_path / 'mine'
  (mine / 'models').mkdir(parents=True)
  (mine / 'models/t5_1_1_tiny.gin').write_text('Oven.heat = 1\n')
  load(files=['cake.gin', 'models/t5_1_1_tiny.gin'], search_paths=[str(mine)])
  assert gin_utils.configured('Oven')() == Oven(1)
  # Removed afterwards, for includes as well.
  assert gin.config._LOCATION_PREFIXES == ['']


def test_gin_does_not_log(folder, capfd):
  refusal('bake.none=1')
  assert capfd.readouterr() == ('', '')


def test_required_bindings(folder):
  load()
  gin_utils.check_bound('Oven.heat', 'an oven')
  with pytest.raises(InputError) as caught:
    gin_utils.check_bound('Oven.door', 'a door')
  assert str(caught.value) == (
    'the configuration lacks a door (Oven.door is not set). Add the file with '
    '--gin_file.'
  )


def test_bound_resolves_only_the_requested_parameters(folder):
  gin_utils.load(
    files=('cake.gin',),
    bindings=['FLOUR=5'],
    configurables=[bake, Oven],
    read=('GUEST',),
    supplied=('SUGAR',),
  )
  # SUGAR is required but unset, and not evaluated here.
  assert gin_utils.bound('bake', ('flour', 'oven', 'salt')) == {
    'flour': 5,
    'oven': Oven(200),
  }
