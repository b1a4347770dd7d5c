"""Slices of a fake cloud, for tests of launch.tpu_vm and others."""

import os
import signal
import threading
import time

from launch import accelerators, gcloud, tpu_vm
from launch.tools import Tools

LIMITS = gcloud.Limits(
  ask=20, create=20, wait=2, copy=20, set_up=20, delete=20, poll=0.02
)
DELETE = 'gcloud compute tpus tpu-vm delete t1 --zone=z --quiet'


def launch_slice(
  said, *, kind='v5litepod-8', limits=LIMITS, request=None, **changes
) -> int:
  """Launches a training on a slice t1; `changes` are those of `tpu_vm.Run`."""
  return tpu_vm.launch(
    gcloud.Request(
      name='t1',
      accelerator=accelerators.find(kind),
      zone='z',
      **(request or {}),
    ),
    tpu_vm.Run(
      words=['train', '--gin.X=a b'],
      **{'outputs': ['gs://b/m'], 'grace_seconds': 20, **changes},
    ),
    tools=Tools(say=said.append),
    limits=limits,
  )


def is_left(cloud) -> bool:
  """Returns whether the slice exists."""
  return (cloud.folder / 'state').exists()


def interrupt_when(tools, key, *, count=1, number=signal.SIGINT) -> None:
  """Sends a signal to this process after a number of calls."""

  def send():
    deadline = time.monotonic() + 30
    while tools.calls().count(key) < count and time.monotonic() < deadline:
      time.sleep(0.02)
    time.sleep(0.2)
    os.kill(os.getpid(), number)

  threading.Thread(target=send, daemon=True).start()
