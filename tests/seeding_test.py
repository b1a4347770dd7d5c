"""Tests for it_study.seeding."""

import subprocess
import sys

from it_study.seeding import stable_hash, stable_random


def test_hash_is_known():
  assert stable_hash('validation', 'task1-0') == 2538143957242733907
  assert stable_hash() == 16476032584258269876


def test_hash_keeps_parts_apart():
  assert stable_hash('ab', 'c') != stable_hash('a', 'bc')
  assert stable_hash('abc') != stable_hash('ab', 'c')
  assert stable_hash('a', '') != stable_hash('a')


def test_hash_depends_on_the_text_of_parts():
  assert stable_hash(3, 'a') == stable_hash('3', 'a')


def test_hash_takes_any_text():
  assert stable_hash('\ud800') != stable_hash('é')


def test_random_draws_are_known():
  random = stable_random(0, 'a')
  assert [random.randrange(100) for _ in range(5)] == [27, 31, 45, 13, 28]
  assert stable_random(1, 'a').randrange(100) == 1


def test_hash_is_the_same_in_another_process():
  script = (
    'from it_study.seeding import stable_hash, stable_random;'
    "print(stable_hash('x', 1), stable_random('x').random())"
  )
  output = subprocess.run(
    [sys.executable, '-c', script], capture_output=True, check=True, text=True
  ).stdout
  assert output == f'{stable_hash("x", 1)} {stable_random("x").random()}\n'
