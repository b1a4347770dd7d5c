"""completion: a script that completes command lines in a shell."""

import argparse
from collections.abc import Iterable, Iterator
import json
import shlex

import shtab

from it_study import conditions, gin_utils
from it_study.corpus import natinst
from it_study.engines import ENGINES

# What a file or a folder is called in the help of a command.
_FILES = ('F', 'F.jsonl', 'PREDICTIONS', 'A', 'B', ('A2', 'B2'))
_FOLDERS = ('DIR', 'STUDY_DIR', 'CHECKPOINT', 'SRC', 'DST', 'OUT')
# The shipped leaves whose macros a command reads.
_MACROS_OF = {
  'study': ('runs/study.gin', 'runs/miniature.gin'),
  'train': ('runs/finetune.gin',),
  'plan': ('runs/finetune.gin',),
  'predict': ('runs/predict.gin',),
  'audit': ('runs/predict.gin',),
}
# Bash parts words at =, where shtab looks for a flag and its value as two
# words; and behind the -- of launch a command line of ours begins anew.
_BASH = """
_it_study() {
  local words=() count=0 current=0 index word last
  for index in "${!COMP_WORDS[@]}"; do
    word="${COMP_WORDS[index]}" last="${words[count > 0 ? count - 1 : 0]-}"
    if [[ $word == "=" && $last == --* ]]; then
      [[ $last == --gin.* ]] && words[count - 1]+="="
      (( index == COMP_CWORD )) && words[count++]=""
    elif [[ $word == "--" && ${words[1]-} == launch ]] &&
      (( index < COMP_CWORD )); then
      words=("${words[0]}") count=1
    else
      words[count++]="$word"
    fi
    (( index == COMP_CWORD )) && current=$(( count - 1 ))
  done
  local COMP_WORDS=("${words[@]}") COMP_CWORD=$current
  _shtab_it_study
  # What goes on behind = or / goes on without a space.
  if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=/] ]]; then
    compopt -o nospace 2>/dev/null || :
  fi
}

complete -o bashdefault -F _it_study it-study
"""


def completion(options: argparse.Namespace) -> None:
  """Prints the script of a shell."""
  script = _script(options.root_parser, options.shell)
  if options.json:
    print(json.dumps({'shell': options.shell, 'script': script}))
  elif not options.quiet:
    print(script)


def _script(parser: argparse.ArgumentParser, shell: str) -> str:
  """The script for a shell that completes what a parser takes."""
  for name, command in _commands(parser):
    for macro in _macros(name):
      # Shown with its =, as its value is given in the same word.
      command.add_argument(
        f'--gin.{macro}=', dest=macro, metavar='VALUE', help='gin macro'
      )
    for action in command._actions:
      completer = _completer(action)
      if completer is not None:
        action.complete = completer
      if shell == 'zsh' and action.nargs != 0:
        # A value in the same word or the next; else only in the next.
        action.option_strings = [
          f'{flag.rstrip("=")}=' for flag in action.option_strings
        ]
  script = shtab.complete(parser, shell)
  return script + _BASH if shell == 'bash' else script


def _commands(
  parser: argparse.ArgumentParser, name: str = ''
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
  """Every command below a parser, by its own name."""
  groups = [
    action
    for action in parser._actions
    if isinstance(action, argparse._SubParsersAction)
  ]
  for group in groups:
    for below, command in group.choices.items():
      yield from _commands(command, f'{name} {below}'.strip())
  if not groups:
    yield name, parser


def _macros(command: str) -> list[str]:
  names = dict.fromkeys(
    name
    for file in _MACROS_OF.get(command, ())
    for name in gin_utils.shipped_macros(file)
  )
  return sorted(names)


def _completer(action: argparse.Action) -> dict | None:
  """What stands for the value of an argument, where more than choices do."""
  name, kind = action.dest, None
  if action.metavar in _FILES:
    kind = shtab.FILE
  elif action.metavar in _FOLDERS or name.endswith(('_DIR', '_PATH')):
    kind = shtab.DIRECTORY
  if name == 'gin_file':
    return _words('leaves', gin_utils.shipped_files(), files='*.gin')
  if name in ('corpus', 'CORPUS'):
    return _words('corpora', ['miniature'])
  if name in ('vocabulary', 'IT_STUDY_VOCABULARY'):
    return _words('vocabularies', ['byte', 'miniature'], files='*.model')
  if name in ('condition', 'MIXTURE_OR_TASK_NAME'):
    grid = conditions.common_grid()
    return _words('conditions', (c.name for c in grid), is_path=False)
  if name == 'split':
    return _words('splits', natinst.SPLITS, is_path=False)
  if name == 'ENGINE':
    return _words('engines', ENGINES, is_path=False)
  return kind


def _words(
  name: str,
  words: Iterable[str],
  *,
  files: str | None = None,
  is_path: bool = True,
) -> dict:
  """Completes words, and paths beside them.

  Args:
    name: of the shell function that does.
    words: to choose from.
    files: a pattern of files that may stand there; None for folders alone.
    is_path: whether a path may stand there as well.
  """
  function, listed = f'_it_study_{name}', shlex.join(words)
  bash = [f'compgen -W {shlex.quote(listed)} -- "$1"']
  zsh = [f'compadd -- {listed}']
  if is_path:
    bash.append('compgen -d -S / -- "$1"')
    zsh.append('_files -/')
  if files is not None:
    bash.append(f'compgen -f -X \'!{files}\' -- "$1"')
    zsh.append(f"_files -g '{files}'")
  return {
    'bash': function,
    'zsh': function,
    # What parts a rule there parts a path as well.
    'tcsh': f'f:{files}' if '/' in listed else f'({listed})',
    'preamble': {
      shell: '\n  '.join([f'{function}() {{', *lines]) + '\n}\n'
      for shell, lines in (('bash', bash), ('zsh', zsh))
    },
  }
