"""Settings of the C library's allocator that make XLA faster on a CPU."""

import ctypes
import os
import pathlib
import sys

# mallopt(3). XLA allocates and frees its buffers at every step; without head
# room the C library returns each to the kernel and requests it again.
_M_TOP_PAD = -2
_TOP_PAD_BYTES = 64 * 2**20

# A tunable of glibc from 2.35 on; 1 requests transparent huge pages.
_HUGE_PAGES = 'glibc.malloc.hugetlb'
_HUGE_PAGE_SETTING = pathlib.Path('/sys/kernel/mm/transparent_hugepage/enabled')


def keep_head_room() -> bool:
  """Lets the process keep 64 MiB more than it uses, on Linux with glibc.

  Returns:
    Whether the C library accepted the setting.
  """
  if not sys.platform.startswith('linux'):
    return False
  try:
    return bool(ctypes.CDLL(None).mallopt(_M_TOP_PAD, _TOP_PAD_BYTES))
  except (AttributeError, OSError):
    # musl has no mallopt.
    return False


def give_back_unused() -> bool:
  """Returns unused memory to the system, on Linux with glibc.

  Compiling, and buffers of other sizes, leave up to a gigabyte that nothing
  needs any more.

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
  """Returns the environment that a process needs to use huge pages.

  XLA's buffers are mapped again at every step, and the kernel faults them in
  page by page: half a million pages of 4 KiB for 77 million parameters.

  Returns:
    Environment variables. Empty if the setting is there already, on or off, if
    the kernel gives huge pages to all processes or to none, or if the C library
    has no such setting.
  """
  tunables = os.environ.get('GLIBC_TUNABLES', '')
  if _HUGE_PAGES in tunables or not _has_tunables():
    return {}
  try:
    if '[madvise]' not in _HUGE_PAGE_SETTING.read_text():
      return {}
  except OSError:
    return {}
  settings = filter(None, [tunables, f'{_HUGE_PAGES}=1'])
  return {'GLIBC_TUNABLES': ':'.join(settings)}


def start_with_huge_pages() -> None:
  """Replaces the process with one that uses huge pages, same command line.

  The C library reads its settings only when a process starts. Returns if there
  is nothing to set.
  """
  environment = huge_pages_environment()
  if not environment or not sys.executable:
    return
  command = [sys.executable, *sys.orig_argv[1:]]
  os.execve(sys.executable, command, {**os.environ, **environment})


def _has_tunables() -> bool:
  """Returns whether the C library is glibc 2.35 or newer."""
  try:
    name, version = (os.confstr('CS_GNU_LIBC_VERSION') or '').split()
    numbers = tuple(int(number) for number in version.split('.')[:2])
  except (AttributeError, ValueError):
    return False
  return name == 'glibc' and numbers >= (2, 35)
