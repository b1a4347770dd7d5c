"""Tests of it_study.commands.flags."""

import argparse

import pytest

from it_study.commands import flags, registry
from it_study.errors import InputError

COMMANDS = {
  command.name: command
  for command in (
    *registry.COMMANDS,
    *registry.CORPUS_COMMANDS,
    *registry.LAUNCH_COMMANDS,
  )
}
# Arguments whose value is a path on another machine, or no path at all.
OTHERS = {
  *('GIN.NAME', 'N', 'NAME', 'T', 'ID', 'POINTS', 'COMMIT', 'HEX', 'S', 'P'),
  *('X', 'V', 'Z', 'OPTION', 'NAME=VALUE', 'gpu|node', 'A,B', 'gs://B/D'),
  *('REMOTE_DIR', 'MODULE'),
}


@pytest.mark.parametrize('name', COMMANDS)
def test_paths_of_every_command_are_expanded(monkeypatch, name):
  monkeypatch.setenv('HOME', '/home/me')
  parser = argparse.ArgumentParser()
  COMMANDS[name].add_flags(parser)
  options = argparse.Namespace(help_parser=parser)
  paths = []
  for action in parser._actions:
    if action.metavar is None or action.metavar in OTHERS:
      continue
    paths.append(action.dest)
    is_list = isinstance(action, argparse._AppendAction)
    value = ['~/a', '~/b'] if is_list else '~/a'
    setattr(options, action.dest, [value] if action.nargs == 2 else value)
  flags.expand_paths(options)
  for dest in paths:
    assert '~' not in repr(getattr(options, dest)), dest
    assert '/home/me/a' in repr(getattr(options, dest)), dest


def test_a_path_of_an_unknown_user_is_refused():
  parser = argparse.ArgumentParser()
  flags.add_corpus_flag(parser, required=True)
  options = argparse.Namespace(help_parser=parser, corpus='~no-such-user')
  with pytest.raises(InputError, match=r'^~no-such-user: '):
    flags.expand_paths(options)
