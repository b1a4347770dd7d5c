"""How the C library hands memory to XLA on a CPU."""

import ctypes
import sys

# mallopt(3). XLA's buffers come and go with every step; without head room the
# C library gives each back to the kernel and asks for it again.
_M_TOP_PAD = -2
_TOP_PAD_BYTES = 64 * 2**20


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
