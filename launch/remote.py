"""What is said to a shell on another machine."""

from collections.abc import Mapping, Sequence
import re
import shlex

from it_study.errors import InputError

_NAME = re.compile(r'[A-Za-z_]\w*')
# By which a run is known on the machine.
_VARIABLE = 'IT_STUDY_LAUNCH'


def run_line(
  words: Sequence[str],
  *,
  label: str,
  folder: str,
  environment: Mapping[str, str],
  grace_seconds: float,
) -> str:
  """A line of shell that runs a program for as long as somebody listens.

  The end of the line's input asks the program to stop, by SIGTERM: that is what
  a connection that is closed, or breaks, amounts to. So nothing is left running
  on a machine that nobody talks to any more. A former run of the same label,
  which a broken connection may have left at its checkpoint, is waited for.

  Args:
    words: the program and its arguments.
    label: of the run; letters, digits, '-' and '_'.
    folder: to run in, below the home folder or absolute.
    environment: added to the machine's own.
    grace_seconds: from being asked to stop to being ended.
  """
  grace = max(1, round(grace_seconds))
  assignments = [
    f'{name}={shlex.quote(value)}'
    for name, value in {_VARIABLE: label, **environment}.items()
  ]
  return '; '.join(
    (
      f'f="$HOME"/.it_study_{label}.pid',
      # The number may be another program's by now; its environment tells.
      'p=$(cat "$f" 2>/dev/null)',
      f'if [ -n "$p" ] && grep -qszx {_VARIABLE}={label} /proc/$p/environ',
      f'then kill -TERM $p; n={grace}',
      'while kill -0 $p 2>/dev/null && [ $n -gt 0 ]; do sleep 1; n=$((n-1)); '
      'done',
      'kill -KILL $p 2>/dev/null',
      'fi',
      f'cd {shlex.quote(folder)} || exit 1',
      # A shell gives nothing to read to what it runs in the background.
      'exec 3<&0',
      f'env {" ".join(assignments)} {shlex.join(words)} </dev/null 3<&- & p=$!',
      'echo $p > "$f"',
      f'{{ cat <&3; kill -TERM $p && sleep {grace} && kill -KILL $p; }} '
      '>/dev/null 2>&1 & w=$!',
      'wait $p',
      's=$?',
      'kill $w 2>/dev/null',
      'rm -f "$f"',
      'exit $s',
    )
  )


def parse_environment(given: Sequence[str]) -> dict[str, str]:
  """The pairs of NAME=VALUE.

  Raises:
    InputError: one is not of this form.
  """
  pairs = {}
  for text in given:
    name, equals, value = text.partition('=')
    if not equals or not _NAME.fullmatch(name):
      raise InputError(f'--env {text!r}: give NAME=VALUE.')
    pairs[name] = value
  return pairs
