"""Packaging of it_study."""

import pathlib
import re

import setuptools

_HERE = pathlib.Path(__file__).parent
_VERSION = re.search(
  r"__version__ = '([^']+)'", (_HERE / 'it_study/__init__.py').read_text()
)[1]

_GIN_FOLDERS = ['gin_configs'] + [
  f'gin_configs.{folder.name}'
  for folder in sorted((_HERE / 'gin_configs').iterdir())
  if folder.is_dir() and folder.name != '__pycache__'
]

_GCS = 'google-cloud-storage>=3.17,<4'

# Lower bounds are the tested versions; upper bounds exclude releases that might
# change results.
setuptools.setup(
  name='it_study',
  version=_VERSION,
  description='A controlled study of what instruction tuning teaches a model.',
  long_description=(_HERE / 'README.md').read_text(encoding='utf-8'),
  long_description_content_type='text/markdown',
  license='Apache-2.0',
  python_requires='>=3.11',
  packages=[
    *setuptools.find_packages(
      include=['it_study', 'it_study.*', 'launch', 'tasks']
    ),
    *_GIN_FOLDERS,
  ],
  package_data={
    'it_study': ['py.typed'],
    'it_study.corpus': ['*.csv'],
    'it_study.report.browser': ['*.css', '*.html', '*.js'],
    'it_study.report.formats': ['*.jinja', '*.css', '*.html', '*.js'],
    'launch': ['Dockerfile'],
    **{folder: ['*.gin'] for folder in _GIN_FOLDERS},
  },
  entry_points={'console_scripts': ['it-study = it_study.cli:run_and_exit']},
  install_requires=[
    'absl-py>=2.5,<3',
    'array_record>=0.8.6,<0.9',
    'clu>=0.0.12,<0.1',
    'etils[epath]>=1.15,<2',
    'flax>=0.12.8,<0.13',
    'gguf>=0.19,<0.20',
    'gin-config>=0.5.0,<0.6',
    'grain>=0.2.18,<0.3',
    # Imported by TFDS 4.9.10, which does not require it.
    'importlib_resources>=6',
    'jax>=0.10.2,<0.11',
    'jaxtyping>=0.3.11,<0.4',
    'jinja2>=3.1.6,<4',
    'nltk>=3.9,<4',
    'numpy>=2.4,<3',
    'optax>=0.2.8,<0.3',
    'orbax-checkpoint>=0.12.8,<0.13',
    'plotly>=7.1,<8',
    'pyyaml>=6,<7',
    'rapidfuzz>=3.14,<4',
    'rich>=15,<16',
    'safetensors>=0.8,<0.9',
    'scipy>=1.17,<2',
    'sentencepiece>=0.2.3,<0.3',
    'seqio>=0.0.20,<0.0.21',
    'shtab>=1.13,<2',
    # clu writes events through it but does not require it.
    'tensorboard>=2.21,<3',
    'tensorflow>=2.21,<2.22',
    'tensorflow-datasets>=4.9.10,<4.10',
    'tensorstore>=0.1.86,<0.2',
    'tokenizers>=0.22,<0.24',
  ],
  extras_require={
    # Google Cloud Storage buckets; T5X's checkpoints are read without it.
    'gcs': [_GCS],
    'test': [
      _GCS,
      # Checks the array shapes that jaxtyping annotates.
      'beartype>=0.23,<0.24',
      'hypothesis>=6.170,<7',
      'mypy>=2.4,<3',
      'pytest>=9.2,<10',
      'pytest-xdist>=3.8,<4',
      'ruff>=0.17.5,<0.18',
      # Measures coverage in no time; coverage.py took a fifth of the tests'.
      'slipcover>=1.1,<2',
      # Judges our ROUGE.
      'rouge_score>=0.1.2,<0.2',
      'types-requests>=2.33,<3',
    ],
    'parity': ['torch==2.13.0', 'transformers>=5.23,<6', 'peft>=0.21,<0.22'],
    'xlingual': ['tokenizers>=0.22,<0.24'],
    # T5X's own requirements. T5X is not on PyPI: see requirements/t5x.txt.
    't5x': [
      'cached_property>=2,<3',
      'chex>=0.1.92,<0.2',
      'fiddle>=0.3.1,<0.4',
    ],
    'tpu': ['jax[tpu]>=0.10.2,<0.11'],
    # The TPU compiler only, in the version that jax[tpu] 0.10.2 requires.
    'tpu-aot': ['libtpu==0.0.42.*'],
    'gpu': ['jax[cuda13]>=0.10.2,<0.11'],
  },
  classifiers=[
    'Programming Language :: Python :: 3.11',
    'Programming Language :: Python :: 3.12',
    'Programming Language :: Python :: 3.13',
    'Topic :: Scientific/Engineering :: Artificial Intelligence',
  ],
)
