"""A tiny random Llama for benchmarks of decoder-only models."""

import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).parents[1] / 'tests'))

import gguf_files

from it_study.checkpoints.gguf import folder as gguf_folder


def settings(folder: pathlib.Path) -> tuple[list[str], str]:
  """Writes the model, and returns what selects it on a command line.

  Args:
    folder: New folder for the weights, the tokenizer and the gin file.

  Returns:
    Words of a command line that set model, task and lengths; and the weights.
  """
  folder.mkdir(parents=True)
  weights = gguf_folder.write_folder(
    gguf_files.write(folder / 'model.gguf'), folder / 'hf'
  )
  (folder / 'model.gin').write_text(gguf_files.GIN)
  return [
    f'--gin_file={folder / "model.gin"}',
    '--gin.MIXTURE_OR_TASK_NAME=natinst_def_empty_ex_empty0_fmtalpaca',
    # Its tokens are bytes.
    "--gin.TASK_FEATURE_LENGTHS={'inputs': 480, 'targets': 24}",
  ], str(weights)
