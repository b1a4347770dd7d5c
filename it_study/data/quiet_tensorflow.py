"""Importing this imports TensorFlow quietly; it must come before SeqIO."""

from it_study.data import tensorflow_setup

tensorflow_setup.import_quietly()
