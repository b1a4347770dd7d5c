"""Data's text made fit to show."""

import unicodedata

_SHOWN_CONTROLS = '\n\t'


def visible(text: str) -> str:
  """Replaces what would hide, reorder or break text by a visible sign.

  Control characters become their pictures; format characters that reorder
  text, lone surrogates and what XML forbids become U+FFFD. Line feeds and tabs
  stay. Every character becomes one character.

  >>> visible('a\\x1b[31mb\\u202ec')
  'a␛[31mb�c'
  """
  return ''.join(map(_visible_character, text))


def _visible_character(character: str) -> str:
  if character in _SHOWN_CONTROLS or character.isprintable():
    return character
  code = ord(character)
  if code < 0x20:
    return chr(0x2400 + code)
  if code == 0x7F:
    return '␡'
  # Separators are spaces of some sort; joiners are part of words and emoji.
  if unicodedata.category(character) == 'Zs' or character in '\u200c\u200d':
    return character
  return '\ufffd'
