"""How the C library hands memory to XLA on a CPU."""

import ctypes
import os
import pathlib
import sys

# mallopt(3). XLA's buffers come and go with every step; without head room the
# C library gives each back to the kernel and asks for it again.
_M_TOP_PAD = -2
_TOP_PAD_BYTES = 64 * 2**20

# One of glibc's tunables, from 2.35 on; 1 asks for transparent huge pages.
_HUGE_PAGES = 'glibc.malloc.hugetlb'
_HUGE_PAGE_SETTING = pathlib.Path('/sys/kernel/mm/transparent_hugepage/enabled')


def keep_head_room() -> bool:
  """Lets the process keep 64 MB more than it uses, on Linux with glibc.

  Returns:
    Whether the C library took the setting.
  """
  if not sys.platform.startswith('linux'):
    return False
  try:
    return bool(ctypes.CDLL(None).mallopt(_M_TOP_PAD, _TOP_PAD_BYTES))
  except (AttributeError, OSError):
    # musl has no mallopt.
    return False


def give_back_unused() -> bool:
  """Returns to the system what the C library holds for no one, with glibc.

  Compiling leaves some hundred megabytes, which a training does not need.

  Returns:
    Whether anything was returned.
  """
  if not sys.platform.startswith('linux'):
    return False
  try:
    return bool(ctypes.CDLL(None).malloc_trim(_TOP_PAD_BYTES))
  except (AttributeError, OSError):
    return False


def huge_pages_environment() -> dict[str, str]:
  """What a process must be started with for its large arrays to be huge pages.

  XLA's buffers are mapped anew at every step, and the kernel hands them out
  page by page: of 4 KB, half a million for a model of 77 million parameters.

  Returns:
    Variables of the environment; empty where the setting is there already,
    either way, where the kernel gives huge pages to all or to none, and where
    the C library has no such setting.
  """
  given = os.environ.get('GLIBC_TUNABLES', '')
  if _HUGE_PAGES in given or not _has_tunables():
    return {}
  try:
    if '[madvise]' not in _HUGE_PAGE_SETTING.read_text():
      return {}
  except OSError:
    return {}
  settings = filter(None, [given, f'{_HUGE_PAGES}=1'])
  return {'GLIBC_TUNABLES': ':'.join(settings)}


def start_with_huge_pages() -> None:
  """Replaces the process by one with the same command line and huge pages.

  The C library reads its settings only when a process starts. Returns where
  there is nothing to set.
  """
  environment = huge_pages_environment()
  if not environment or not sys.executable:
    return
  command = [sys.executable, *sys.orig_argv[1:]]
  os.execve(sys.executable, command, {**os.environ, **environment})


def _has_tunables() -> bool:
  try:
    name, version = os.confstr('CS_GNU_LIBC_VERSION').split()
    numbers = tuple(int(number) for number in version.split('.')[:2])
  except (AttributeError, ValueError):
    return False
  return name == 'glibc' and numbers >= (2, 35)
