"""The registrations of `it_study.tasks` under a shorter name.

A folder on the import path that holds a `tasks.py`, as T5X's own does, hides
this name, but not the longer one.
"""

import sys

from it_study.tasks import mixtures, natinst

__all__ = ['mixtures', 'natinst']

# Keeps `import tasks.natinst` working.
sys.modules |= {f'tasks.{name}': globals()[name] for name in __all__}
