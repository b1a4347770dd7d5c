"""What every test stands on: quick compiling, a cache of its own."""

import os
import tempfile

# Before JAX is imported: programs here are compiled more than they are run.
os.environ['XLA_FLAGS'] = (
  os.environ.get('XLA_FLAGS', '') + ' --xla_backend_optimization_level=0'
)
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
# Nothing that a user has built is used or touched.
os.environ['IT_STUDY_CACHE'] = tempfile.mkdtemp(prefix='it_study_tests_')
os.environ.pop('IT_STUDY_VOCABULARY', None)
