"""completion: a script for tab completion in a shell."""

import argparse
from collections.abc import Iterable, Iterator
import json
import shlex

from it_study import conditions
from it_study.commands.flags import FILES, FOLDERS, Command
from it_study.corpus import natinst
from it_study.engines import ENGINES

# The shipped gin files whose macros each command reads.
_MACROS_OF = {
  'study': ('runs/study.gin', 'runs/miniature.gin'),
  'train': ('runs/finetune.gin',),
  'plan': ('runs/finetune.gin',),
  'predict': ('runs/predict.gin',),
  'diagnose': ('runs/predict.gin',),
}
# Bash splits words at =, where shtab expects a flag and its value as two words;
# and after the -- of launch, another command line of ours begins.
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
  # No space after = or /, where the word continues.
  if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=/] ]]; then
    compopt -o nospace 2>/dev/null || :
  fi
}

complete -o bashdefault -F _it_study it-study
"""


def _add_flags(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    'shell', choices=('bash', 'zsh', 'tcsh'), help='shell to complete in'
  )


def completion(options: argparse.Namespace) -> None:
  """Prints the completion script of a shell."""
  script = _script(options.root_parser, options.shell)
  if options.json:
    print(json.dumps({'shell': options.shell, 'script': script}))
  elif not options.quiet:
    print(script)


COMMAND = Command(
  name='completion',
  run=completion,
  summary='print a script for tab completion in a shell',
  example='it-study completion bash',
  add_flags=_add_flags,
  details=(
    'For bash and zsh, add eval "$(it-study completion bash)", or zsh, to the '
    'startup file of the shell; in zsh after compinit. For tcsh, source a file '
    'that holds the output.'
  ),
)


def _script(parser: argparse.ArgumentParser, shell: str) -> str:
  """Returns the script that completes the arguments of a parser."""
  import shtab

  for name, command in _commands(parser):
    for macro in _macros(name):
      # With the =, since the value follows in the same word.
      command.add_argument(
        f'--gin.{macro}=', dest=macro, metavar='VALUE', help='gin macro'
      )
    for action in command._actions:
      completer = _completer(action)
      if completer is not None:
        # Read by shtab.
        setattr(action, 'complete', completer)  # noqa: B010
      if shell == 'zsh' and action.nargs != 0:
        # Lets the value follow in the same word too, not only in the next.
        action.option_strings = [
          f'{flag.rstrip("=")}=' for flag in action.option_strings
        ]
  script = shtab.complete(parser, shell)
  return script + _BASH if shell == 'bash' else script


def _commands(
  parser: argparse.ArgumentParser, name: str = ''
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
  """Yields every command of a parser once, with its name, without aliases."""
  groups = [
    action
    for action in parser._actions
    if isinstance(action, argparse._SubParsersAction)
  ]
  for group in groups:
    # An alias is a second key of the same parser, after its name.
    names: dict[argparse.ArgumentParser, str] = {}
    for word, command in group.choices.items():
      names.setdefault(command, word)
    for command, word in names.items():
      yield from _commands(command, f'{name} {word}'.strip())
  if not groups:
    yield name, parser


def _macros(command: str) -> list[str]:
  from it_study import gin_utils

  names = dict.fromkeys(
    name
    for file in _MACROS_OF.get(command, ())
    for name in gin_utils.shipped_macros(file)
  )
  return sorted(names)


def _completer(action: argparse.Action) -> dict | None:
  """Returns shtab's completer for the value of an argument, None for none."""
  import shtab

  from it_study import gin_utils

  name, kind = action.dest, None
  if action.metavar in FILES:
    kind = shtab.FILE
  elif action.metavar in FOLDERS or name.endswith(('_DIR', '_PATH')):
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
  """Returns a completer for words, and for paths as well.

  Args:
    name: Suffix of the shell function's name.
    words: Words to complete.
    files: Pattern of files to complete; None for folders only.
    is_path: Whether to complete paths as well.
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
    # A rule of tcsh is delimited by /, so words must not contain one.
    'tcsh': f'f:{files}' if '/' in listed else f'({listed})',
    'preamble': {
      shell: '\n  '.join([f'{function}() {{', *lines]) + '\n}\n'
      for shell, lines in (('bash', bash), ('zsh', zsh))
    },
  }
