"""Random choices that hang on stable ids alone."""

import hashlib
import random


def stable_hash(*parts: object) -> int:
  """Returns an unsigned 64-bit hash of `parts`, the same everywhere.

  The parts' string forms are separated, so that ('ab', 'c') and ('a', 'bc')
  differ. Python's own `hash` changes with every process.

  >>> stable_hash('validation', 'task1-0')
  2538143957242733907
  """
  text = '\x1f'.join(str(part) for part in parts)
  digest = hashlib.blake2b(text.encode('utf-8', 'surrogatepass'), digest_size=8)
  return int.from_bytes(digest.digest(), 'big')


def stable_random(*parts: object) -> random.Random:
  """Returns a generator seeded by `stable_hash` of `parts`."""
  return random.Random(stable_hash(*parts))
