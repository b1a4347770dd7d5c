"""Shell commands for another machine."""

from collections.abc import Mapping, Sequence
import re
import shlex

from it_study.errors import InputError

_NAME = re.compile(r'[A-Za-z_]\w*')
# Environment variable that marks the processes of a run.
_VARIABLE = 'IT_STUDY_LAUNCH'


def run_line(
  words: Sequence[str],
  *,
  label: str,
  folder: str,
  environment: Mapping[str, str],
  grace_seconds: float,
) -> str:
  """Returns a line of shell that runs a program while the connection lasts.

  The program gets SIGTERM at the end of the line's standard input, which is
  what a closed or broken connection looks like. So nothing keeps running on a
  machine that has lost its launcher. A former run of the same label, which may
  still be writing its checkpoint after a broken connection, is stopped first.

  Args:
    words: Program and arguments.
    label: Name of the run: letters, digits, '-' and '_'.
    folder: Working directory, absolute or relative to the home folder.
    environment: Variables added to the machine's environment.
    grace_seconds: Seconds from SIGTERM to SIGKILL.
  """
  grace = max(1, round(grace_seconds))
  assignments = [
    f'{name}={shlex.quote(value)}'
    for name, value in {_VARIABLE: label, **environment}.items()
  ]
  return '; '.join(
    (
      f'f="$HOME"/.it_study_{label}.pid',
      # The process id may have been reused; the environment identifies ours.
      'p=$(cat "$f" 2>/dev/null)',
      f'if [ -n "$p" ] && grep -qszx {_VARIABLE}={label} /proc/$p/environ',
      f'then kill -TERM $p; n={grace}',
      'while kill -0 $p 2>/dev/null && [ $n -gt 0 ]; do sleep 1; n=$((n-1)); '
      'done',
      'kill -KILL $p 2>/dev/null',
      'fi',
      f'cd {shlex.quote(folder)} || exit 1',
      # Shells redirect the input of background processes from /dev/null.
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


def parse_environment(settings: Sequence[str]) -> dict[str, str]:
  """Returns the variables of NAME=VALUE settings.

  Raises:
    InputError: If a setting does not have this form.
  """
  pairs = {}
  for text in settings:
    name, equals, value = text.partition('=')
    if not equals or not _NAME.fullmatch(name):
      raise InputError(f'--env {text!r}: expected NAME=VALUE.')
    pairs[name] = value
  return pairs
