"""Mutation test: breaks one line at a time and sees whether a test fails.

    python benchmarks/mutate.py --mutants 200 --seed 0 --workers 2

First runs the tests once and records which test file enters which function.
Then draws mutants of these kinds:

- a keyword argument of a call is dropped,
- a number or truth value is changed,
- a comparison is flipped,
- a call whose value is not used is skipped.

Each mutant is written into a copy of the repository, where the test files that
enter the mutated function run until one fails: first the module's own, last
those marked slow. Prints the mutants that survive. The same seed
draws the same mutants from the same source: with --out and --coverage, the same
command resumes a run that was interrupted.
"""

import argparse
import ast
import builtins
from collections.abc import Iterator, Mapping, Sequence
import concurrent.futures
import dataclasses
import importlib.machinery
import json
import os
import pathlib
import queue
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time

_ROOT = pathlib.Path(__file__).resolve().parents[1]
TARGETS = (
  'it_study/data',
  'it_study/evaluation',
  'it_study/instructions',
  'it_study/predictions.py',
  'it_study/study',
)
_FLIPPED = {
  ast.Eq: '!=',
  ast.NotEq: '==',
  ast.Lt: '<=',
  ast.LtE: '<',
  ast.Gt: '>=',
  ast.GtE: '>',
  ast.In: 'not in',
  ast.NotIn: 'in',
  ast.Is: 'is not',
  ast.IsNot: 'is',
}
_COMPARISON = {
  ast.Eq: '==',
  ast.NotEq: '!=',
  ast.Lt: '<',
  ast.LtE: '<=',
  ast.Gt: '>',
  ast.GtE: '>=',
  ast.In: 'in',
  ast.NotIn: 'not in',
  ast.Is: 'is',
  ast.IsNot: 'is not',
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mutant:
  """One change of one file.

  Attributes:
    path: Path of the file, relative to the repository.
    line: Line number of the change, from 1.
    function: Line number of the innermost function around it; 0 for none.
    kind: Kind of the change.
    before: Source that is replaced.
    after: Source that replaces it.
    start: Offset of `before` in the file, in bytes.
  """

  path: str
  line: int
  function: int
  kind: str
  before: str
  after: str
  start: int

  def apply(self, source: bytes) -> bytes:
    """Returns the source of the file with the change."""
    before = self.before.encode()
    assert source[self.start :].startswith(before), self
    return (
      source[: self.start]
      + self.after.encode()
      + source[self.start + len(before) :]
    )

  def __str__(self) -> str:
    before, after = (' '.join(t.split()) for t in (self.before, self.after))
    return f'{self.path}:{self.line}: {self.kind}: {before!r} -> {after!r}'


class _Source:
  """A parsed file that knows the offsets of its nodes."""

  def __init__(self, path: pathlib.Path):
    self.name = str(path.relative_to(_ROOT))
    self.data = path.read_bytes()
    self.tree = ast.parse(self.data)
    self._line_starts = [0]
    for line in self.data.split(b'\n'):
      self._line_starts.append(self._line_starts[-1] + len(line) + 1)
    self.functions: dict[ast.AST, int] = {}
    self._note_functions(self.tree, 0)

  def _note_functions(self, node: ast.AST, function: int) -> None:
    for child in ast.iter_child_nodes(node):
      self.functions[child] = function
      inner = function
      if isinstance(child, ast.FunctionDef):
        # As code objects count it: a decorator is the first line.
        inner = min([child.lineno, *(d.lineno for d in child.decorator_list)])
      self._note_functions(child, inner)

  def span(self, node: ast.AST) -> tuple[int, int]:
    return (
      self._line_starts[node.lineno - 1] + node.col_offset,
      self._line_starts[node.end_lineno - 1] + node.end_col_offset,
    )

  def mutant(
    self, node: ast.AST, kind: str, after: str, span: tuple[int, int]
  ) -> Mutant:
    start, end = span
    return Mutant(
      path=self.name,
      line=self.data[:start].count(b'\n') + 1,
      function=self.functions.get(node, 0),
      kind=kind,
      before=self.data[start:end].decode(),
      after=after,
      start=start,
    )

  def mutants(self) -> Iterator[Mutant]:
    """Yields every mutant of the file, in the order of the source."""
    passed_over = set(self._passed_over())
    for node in ast.walk(self.tree):
      if node in passed_over:
        continue
      if isinstance(node, ast.Call):
        yield from self._dropped_keywords(node)
      elif isinstance(node, ast.Constant):
        yield from self._changed_constant(node)
      elif isinstance(node, ast.Compare):
        yield from self._flipped_comparison(node)
      elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield self.mutant(node, 'skipped call', 'pass', self.span(node))

  def _passed_over(self) -> Iterator[ast.AST]:
    """Yields what no behaviour hangs on, or what has no known place.

    Annotations and the arguments of decorators (`frozen`, `maxsize`) change
    nothing that a test could see; Python 3.11 does not say where in an f-string
    a node is.
    """
    for node in ast.walk(self.tree):
      if isinstance(node, ast.JoinedStr):
        yield from ast.walk(node)
      elif isinstance(node, ast.AnnAssign):
        yield from ast.walk(node.annotation)
      elif isinstance(node, ast.FunctionDef | ast.ClassDef):
        for decorator in node.decorator_list:
          yield from ast.walk(decorator)

  def _dropped_keywords(self, node: ast.Call) -> Iterator[Mutant]:
    for keyword in node.keywords:
      if keyword.arg is not None:
        start, end = self.span(keyword)
        # With the comma behind it, if there is one.
        rest = self.data[end:]
        stripped = rest.lstrip()
        if stripped.startswith(b','):
          end += len(rest) - len(stripped) + 1
        yield self.mutant(node, 'dropped keyword', '', (start, end))

  def _changed_constant(self, node: ast.Constant) -> Iterator[Mutant]:
    if isinstance(node.value, bool):
      yield self.mutant(node, 'constant', str(not node.value), self.span(node))
    elif isinstance(node.value, int | float):
      yield self.mutant(
        node, 'constant', f'({node.value!r} + 1)', self.span(node)
      )

  def _flipped_comparison(self, node: ast.Compare) -> Iterator[Mutant]:
    operator = type(node.ops[0])
    start = self.span(node.left)[1]
    end = self.span(node.comparators[0])[0]
    between = self.data[start:end].decode()
    if _COMPARISON[operator] in between:
      after = between.replace(_COMPARISON[operator], _FLIPPED[operator], 1)
      yield self.mutant(node, 'comparison', after, (start, end))


class _Marker(ast.NodeTransformer):
  """Makes every function report that it was entered."""

  def __init__(self, path: str):
    self._path = path

  def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
    self.generic_visit(node)
    line = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    call = ast.parse(f'_function_entered({f"{self._path}:{line}"!r})').body[0]
    # A docstring has to stay the first statement.
    place = 1 if ast.get_docstring(node) is not None else 0
    node.body.insert(place, ast.copy_location(call, node.body[0]))
    return ast.fix_missing_locations(node)


class _MarkingFinder(importlib.machinery.PathFinder):
  """Finds the modules below the targets, with their functions marked."""

  targets: tuple[str, ...] = ()

  @classmethod
  def find_spec(cls, fullname, path=None, target=None):
    spec = super().find_spec(fullname, path, target)
    if spec is None or not (spec.origin or '').startswith(cls.targets):
      return None
    loader = spec.loader
    name = os.path.relpath(spec.origin, _ROOT)

    def get_code(_):
      tree = _Marker(name).visit(
        ast.parse(pathlib.Path(spec.origin).read_text())
      )
      return compile(tree, spec.origin, 'exec', dont_inherit=True)

    loader.get_code = get_code
    return spec


class _Recorder:
  """A pytest plugin that notes which test file enters which function."""

  def __init__(self, targets: Sequence[str]):
    self.entered: dict[str, set[str]] = {}
    self.seconds: dict[str, float] = {}
    self._keys: set[str] = set()
    builtins._function_entered = lambda key: self._keys.add(key)
    _MarkingFinder.targets = tuple(str(_ROOT / target) for target in targets)
    sys.meta_path.insert(0, _MarkingFinder)

  def pytest_runtest_protocol(self, item, nextitem) -> None:
    del nextitem  # Named by pytest.
    name = str(pathlib.Path(item.path).relative_to(_ROOT))
    self._keys = self.entered.setdefault(name, set())

  def pytest_runtest_logreport(self, report) -> None:
    name = report.location[0]
    self.seconds[name] = self.seconds.get(name, 0.0) + report.duration


def record(targets: Sequence[str], tests: Sequence[str], out: str) -> None:
  """Runs tests and writes what they enter, as JSON.

  Args:
    targets: Paths below which functions are recorded.
    tests: Test files.
    out: File to write.
  """
  import pytest

  recorder = _Recorder(targets)
  pytest.main(
    ['-q', '-m', 'not slow', '-p', 'no:cacheprovider', *tests],
    plugins=[recorder],
  )
  entered = {name: sorted(keys) for name, keys in recorder.entered.items()}
  pathlib.Path(out).write_text(
    json.dumps({'entered': entered, 'seconds': recorder.seconds})
  )


def _record_all(
  targets: Sequence[str],
  test_folders: Sequence[str],
  workers: int,
  folder: pathlib.Path,
) -> dict[str, dict]:
  files = sorted(
    str(path.relative_to(_ROOT))
    for name in test_folders
    for path in (
      [_ROOT / name]
      if (_ROOT / name).is_file()
      else (_ROOT / name).rglob('*_test.py')
    )
  )
  processes = []
  for number in range(workers):
    out = folder / f'{number}.json'
    words = ['--record', str(out), '--targets', *targets]
    words += ['--tests', *files[number::workers]]
    processes.append(
      (out, subprocess.Popen([sys.executable, __file__, *words], cwd=_ROOT))
    )
  coverage: dict[str, dict] = {'entered': {}, 'seconds': {}}
  for out, process in processes:
    if process.wait():
      raise SystemExit(f'recording ended with status {process.returncode}')
    for key, values in json.loads(out.read_text()).items():
      coverage[key].update(values)
  return coverage


def _covering(mutant: Mutant, coverage: Mapping[str, dict]) -> list[list[str]]:
  """Test files that enter the mutated function: the module's own, others."""
  entered, seconds = coverage['entered'], coverage['seconds']
  if mutant.function:
    key = f'{mutant.path}:{mutant.function}'
    files = [name for name, keys in entered.items() if key in keys]
  else:
    prefix = f'{mutant.path}:'
    files = [
      name
      for name, keys in entered.items()
      if any(key.startswith(prefix) for key in keys)
    ]
  files.sort(key=lambda name: seconds.get(name, 0))
  module = pathlib.Path(mutant.path).with_suffix('')
  mirror = str(pathlib.Path('tests', *module.parts[1:]))
  own = [name for name in files if name.startswith(mirror)]
  return [own, [name for name in files if name not in own]]


def _copy_repository(folder: pathlib.Path) -> pathlib.Path:
  listed = subprocess.run(
    ['git', 'ls-files', '--cached', '--others', '--exclude-standard'],
    capture_output=True,
    check=True,
    cwd=_ROOT,
    text=True,
  ).stdout.splitlines()
  for name in listed:
    if (_ROOT / name).is_file():
      (folder / name).parent.mkdir(parents=True, exist_ok=True)
      shutil.copy2(_ROOT / name, folder / name)
  return folder


def _failing_test(
  copy: pathlib.Path, tests: Sequence[str], marker: str
) -> str | None:
  """Returns the first test that fails or does not end in a copy, if any."""
  words = ['-x', '-q', '-p', 'no:cacheprovider', '-m', marker, *tests]
  try:
    done = subprocess.run(
      [sys.executable, '-m', 'pytest', *words],
      capture_output=True,
      check=False,
      cwd=copy,
      env={**os.environ, 'PYTHONPATH': str(copy)},
      # Time that other programs take is not the tests'.
      preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (900, 900)),
      text=True,
      timeout=3600,
    )
  except subprocess.TimeoutExpired:
    return 'time limit'
  # 5: no test was selected.
  if done.returncode in (0, 5):
    return None
  failed = re.search('^(?:FAILED|ERROR) ([^ ]+)', done.stdout, re.MULTILINE)
  return failed[1] if failed else f'status {done.returncode}'


def killer(
  mutant: Mutant, copy: pathlib.Path, coverage: Mapping[str, dict]
) -> str | None:
  """Returns the test that fails with a mutant; None if it survives."""
  path = copy / mutant.path
  source = path.read_bytes()
  own, others = _covering(mutant, coverage)
  path.write_bytes(mutant.apply(source))
  try:
    for marker, tests in (
      ('not slow', own),
      ('not slow', others),
      ('slow', own + others),
    ):
      test = _failing_test(copy, tests, marker) if tests else None
      if test:
        return test
    return None
  finally:
    path.write_bytes(source)


def draw(targets: Sequence[str], *, number: int, seed: int) -> list[Mutant]:
  """Draws mutants that parse, without replacement.

  Args:
    targets: Paths of packages and modules to mutate.
    number: Number of mutants.
    seed: Seed of the draw.
  """
  mutants = []
  for target in targets:
    path = _ROOT / target
    files = [path] if path.is_file() else sorted(path.rglob('*.py'))
    for file in files:
      mutants += _Source(file).mutants()
  random.Random(seed).shuffle(mutants)
  drawn: list[Mutant] = []
  for mutant in mutants:
    if len(drawn) == number:
      break
    try:
      ast.parse(mutant.apply((_ROOT / mutant.path).read_bytes()))
    except SyntaxError:
      continue
    drawn.append(mutant)
  return drawn


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--mutants', type=int, default=200)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--workers', type=int, default=os.cpu_count())
  parser.add_argument('--targets', nargs='+', default=list(TARGETS))
  parser.add_argument(
    '--test_folders',
    nargs='+',
    default=['tests'],
    help='folders and files of the tests to run; default all',
  )
  parser.add_argument('--coverage', help='record of an earlier run to reuse')
  parser.add_argument('--out', help='JSON lines of the mutants and their fate')
  parser.add_argument('--record', help=argparse.SUPPRESS)
  parser.add_argument('--tests', nargs='*', help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.record:
    record(options.targets, options.tests, options.record)
    return
  with tempfile.TemporaryDirectory() as folder:
    _run(options, pathlib.Path(folder))


def _run(options: argparse.Namespace, folder: pathlib.Path) -> None:
  stored = options.coverage and pathlib.Path(options.coverage)
  if stored and stored.exists():
    coverage = json.loads(stored.read_text())
  else:
    coverage = _record_all(
      options.targets, options.test_folders, options.workers, folder
    )
    if stored:
      stored.write_text(json.dumps(coverage))
  mutants = draw(options.targets, number=options.mutants, seed=options.seed)
  copies: queue.Queue[pathlib.Path] = queue.Queue()
  for number in range(options.workers):
    copies.put(_copy_repository(folder / f'copy{number}'))

  judged = _read_judged(options.out)

  def judge(mutant: Mutant) -> str | None:
    if mutant in judged:
      return judged[mutant]
    copy = copies.get()
    try:
      return killer(mutant, copy, coverage)
    finally:
      copies.put(copy)

  start, survivors = time.monotonic(), []
  with concurrent.futures.ThreadPoolExecutor(options.workers) as pool:
    for done, (mutant, test) in enumerate(
      zip(mutants, pool.map(judge, mutants), strict=True), start=1
    ):
      if not test:
        survivors.append(mutant)
        print(f'survives: {mutant}', flush=True)
      if options.out and mutant not in judged:
        with open(options.out, 'a') as file:
          line = {**dataclasses.asdict(mutant), 'killed_by': test}
          file.write(json.dumps(line) + '\n')
      if done % 10 == 0 or done == len(mutants):
        print(
          f'{done}/{len(mutants)} mutants, {len(survivors)} survive, '
          f'{time.monotonic() - start:.0f} s',
          flush=True,
        )
  killed = len(mutants) - len(survivors)
  print(
    f'killed {killed} of {len(mutants)}: {100 * killed / len(mutants):.1f}%'
  )


def _read_judged(out: str | None) -> dict[Mutant, str | None]:
  """Returns the mutants that an interrupted run has judged, and their fate."""
  path = out and pathlib.Path(out)
  judged = {}
  for line in path.read_text().splitlines() if path and path.exists() else ():
    fields = json.loads(line)
    test = fields.pop('killed_by')
    judged[Mutant(**fields)] = test
  return judged


if __name__ == '__main__':
  main()
