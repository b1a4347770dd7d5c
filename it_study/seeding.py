"""Random choices that depend on stable ids only."""

from collections.abc import Iterable
import hashlib
import random


def stable_hash(*parts: object) -> int:
  """Returns an unsigned 64-bit hash of `parts`, the same in every process.

  Parts are converted to strings and separated, so that ('ab', 'c') and
  ('a', 'bc') differ. Python's `hash` of a string changes between processes.

  >>> stable_hash('validation', 'task1-0')
  2538143957242733907
  """
  text = '\x1f'.join(str(part) for part in parts)
  digest = hashlib.blake2b(text.encode('utf-8', 'surrogatepass'), digest_size=8)
  return int.from_bytes(digest.digest(), 'big')


def stable_order(ids: Iterable[str]) -> list[str]:
  """Sorts ids in an order that depends on nothing else, as if at random."""
  return sorted(ids, key=lambda id_: (stable_hash(id_), id_))


def stable_random(*parts: object) -> random.Random:
  """Returns a generator seeded with `stable_hash(*parts)`."""
  return random.Random(stable_hash(*parts))
