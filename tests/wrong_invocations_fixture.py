"""Wrong command lines and their messages."""

CONDITION = 'natinst_def_empty_ex_empty0'
MODEL = '--gin_file=models/t5_1_1_tiny.gin'
DATA = (
  '--gin.CORPUS=corpus --gin.IT_STUDY_VOCABULARY=byte '
  f'--gin.MIXTURE_OR_TASK_NAME={CONDITION}'
)
TRAIN = (
  f'train {MODEL} --gin_file=runs/finetune.gin {DATA} --gin.MODEL_DIR=model '
  '--gin.TRAIN_STEPS=1'
)
PREDICT = (
  f'predict {MODEL} --gin_file=runs/predict.gin {DATA} '
  '--gin.INFER_OUTPUT_DIR=out'
)
SLICE = 'launch tpu_vm --zone=z --skip_memory_check --type=v5litepod-16'

# A command line and its message, in which ' ... ' stands for any text.
CASES = (
  (
    'scroe predictions.jsonl',
    "argument COMMAND: invalid choice: 'scroe' (choose from ... ). Did you "
    "mean 'score'? See it-study --help.",
  ),
  # As a variable of the shell makes it that is not set.
  (
    'study --study_dir=',
    '--study_dir is empty: give it a value or leave it out. See it-study study '
    '--help.',
  ),
  (
    "report ''",
    'STUDY_DIR is empty: give it a value. See it-study report --help.',
  ),
  (
    'launch tpu_vm --type=v5litepod-16 --zone= -- train',
    '--zone is empty: give it a value. See it-study launch tpu_vm --help.',
  ),
  (
    "launch slurm --sbatch=' ' -- train",
    '--sbatch is empty: give it a value or leave it out. See it-study launch '
    'slurm --help.',
  ),
  (
    f'export lm_eval --corpus=corpus --condition={CONDITION}',
    'the following arguments are required: --out. See it-study export lm_eval '
    '--help.',
  ),
  (
    'export lm_evla',
    "argument COMMAND: invalid choice: 'lm_evla' (choose from ... ). Did you "
    "mean 'lm_eval'? See it-study export --help.",
  ),
  # Gin.
  (
    f'{TRAIN} --gin.BATCHSIZE=4',
    "gin macro 'BATCHSIZE' is set but not used. Did you mean 'BATCH_SIZE'? "
    'Macros in use: BATCH_SIZE, ... , TRAIN_STEPS.',
  ),
  (
    'train --gin_file=runs/finetun.gin',
    "no gin file 'runs/finetun.gin' in the working directory or ... "
    "/gin_configs. Did you mean 'runs/finetune.gin'? Shipped files: ...",
  ),
  (
    f'{TRAIN} --gin_file=leaf.gin',
    "gin file leaf.gin: finetune has no parameter 'bach_size'. Did you mean "
    "'batch_size'?",
  ),
  (
    f'{TRAIN} --gin_search_paths=corpsu',
    "--gin_search_paths: no folder 'corpsu'. Separate folders by commas. Did "
    "you mean 'corpus'?",
  ),
  (f'{TRAIN} --gin.SEED', '--gin.SEED: expected --gin.NAME=value.'),
  (
    f'{TRAIN} --gin.TASK_FEATURE_LENGTHS="{{\'inputs\': 64"',
    "--gin.TASK_FEATURE_LENGTHS = {'inputs': 64: a bracket or a string is not "
    'closed.',
  ),
  # What a macro is set to.
  (
    f'{TRAIN} --gin.BATCH_SIZE=big',
    "BATCH_SIZE is 'big': give a whole number from 1 up.",
  ),
  (
    f'{TRAIN} --gin.MESH_MODEL=two',
    "Mesh data=-1 x fsdp=1 x model=two: model is 'two'; expected a positive "
    'integer, or -1 for all remaining devices.',
  ),
  (
    f'{TRAIN} --gin.LEARNING_RATE=fast',
    "learning rate is 'fast'; give a finite number, 0 or more.",
  ),
  (
    f'{TRAIN} --gin.OPTIMIZER=adafactor',
    "OPTIMIZER is 'adafactor'; give a call, such as @adafactor() or @adamw().",
  ),
  (
    f'{TRAIN} --gin.DROPOUT_RATE=half',
    "T5Config.dropout_rate is 'half'; expected a number in [0, 1).",
  ),
  (
    f'{TRAIN} --gin.LOG_PERIOD=often',
    "LOG_PERIOD is 'often': give a whole number from 1 up.",
  ),
  (
    f'{TRAIN} --gin.KEEP_CHECKPOINTS=all',
    "checkpoints to keep: expected 1 or more, got 'all'; without one, a "
    'stopped training cannot resume.',
  ),
  (
    f'{TRAIN} --gin.MODEL_DIR=gs:/bucket/model',
    'gs:/bucket/model: expected a local folder, or one in a bucket, '
    'gs://BUCKET/FOLDER.',
  ),
  (
    f'{PREDICT} --gin.CHECKPOINT_PATH=modle',
    'no usable checkpoint at ... /modle: expected folders named by their '
    'step, each with a manifest.json. Train first, or name another folder. '
    "Did you mean ' ... /model'?",
  ),
  (
    f'{PREDICT} --gin.CHECKPOINT_PATH=None --gin.SPLIT=tset',
    f"{CONDITION} has no split 'tset'; there are train, validation, test. Did "
    "you mean 'test'?",
  ),
  (
    f'plan {MODEL} --gin_file=runs/finetune.gin --topology=v5e:4x5',
    "topology 'v5e:4x5' is unknown. Did you mean 'v5e:4x8'? There are v5e: "
    'with 2x2, ...',
  ),
  # Before the configuration is read, which takes seconds.
  (
    'plan --devices=0',
    '--devices is 0; give a whole number from 1 up.',
  ),
  # Studies.
  (
    'study --study_dir=study',
    "study holds a study of another configuration (now 'BATCH_SIZE = 16', "
    "there 'BATCH_SIZE = 7'). Name another --study_dir, or run it with the "
    'settings in its study.gin.',
  ),
  (
    'study --gin.SEEDS=0',
    'SEEDS is 0; give whole numbers in brackets, such as (0, 1, 2), or (0,) '
    'for one.',
  ),
  (
    'study --study_dir=gs://',
    'gs://: expected a local folder, or one in a bucket, gs://BUCKET/FOLDER.',
  ),
  (
    'report corpus',
    'corpus: no finished cell: results.jsonl is missing or empty. Run '
    "'it-study study --study_dir=DIR' first.",
  ),
  (
    'view study --port=99999',
    '--port: expected 0 to 65535, got 99999. Leave it out to use a free port.',
  ),
  # Predictions.
  (
    'score malformed.jsonl --out=metrics.json',
    'malformed.jsonl:2: missing prediction; a row has id, task, ... '
    '(raw_prediction, scores, prior_targets and id_source are optional).',
  ),
  (
    'score cut.jsonl --out=metrics.json',
    'cut.jsonl:2: not JSON: Unterminated string starting at column ... ; '
    'expected one JSON object per line.',
  ),
  (
    'score whole.jsonl --split=tset',
    "split 'tset' is unknown; available: train, validation, test. Did you "
    "mean 'test'?",
  ),
  (
    'score whole.jsonl --split=train',
    "whole.jsonl: expected rows of split 'train', got 'test'. Omit the split, "
    'or name the file of that split.',
  ),
  # Before anything is shown.
  (
    'score whole.jsonl --decomposition=corpus',
    'corpus: cannot be written: Is a directory. Name a file in a directory '
    'that exists and is writable.',
  ),
  (
    'score whole.jsonl --spread=corpus',
    'corpus: cannot be written: Is a directory. Name a file in a directory '
    'that exists and is writable.',
  ),
  (
    'compare whole.jsonl half.jsonl --out=metrics.json',
    'whole.jsonl and half.jsonl hold different instances: half.jsonl lacks 96 '
    "of 106 ('entail-10', 'entail-11', …). A paired comparison needs the same "
    'instances. Predict the same split of the same corpus for both.',
  ),
  (
    'compare whole.jsonl whole.jsonl --margin=many',
    "argument --margin: expected a number, got 'many'. See it-study compare "
    '--help.',
  ),
  (
    'baseline random --corpus=corpus --out=corpus',
    'corpus: cannot be written: Is a directory. Name a file in a directory '
    'that exists and is writable.',
  ),
  # Prompts.
  (
    'prompt --corpus=corpus --condition=natinst_def_original_ex_original0',
    "condition 'natinst_def_original_ex_original0': ex_original0 is not "
    'valid: level empty takes 0 examples (ex_empty0), every other level at '
    'least 1.',
  ),
  (
    f'prompt --corpus=corpus --condition={CONDITION} --module=no_such',
    "--module is 'no_such': No module named 'no_such'. Name an installed "
    'module or one in the working directory.',
  ),
  (
    'explain entail-1000 --corpus=corpus',
    "corpus corpus: no instance 'entail-1000' in its splits; the nearest are "
    "'entail-100', ...",
  ),
  # Weights.
  (
    'convert hff weights --from=hf --to=t5x',
    'hff: no such folder. Name the one that holds the weights. Did you mean '
    "'hf'?",
  ),
  (
    'convert hf weights --from=hf --to=it_study',
    'hf: no weights; a Hugging Face folder holds config.json, and '
    'model.safetensors or pytorch_model.bin or an index of shards.',
  ),
  (
    'convert hf corpus --from=hf --to=t5x',
    'corpus is not empty; weights are written to a new folder.',
  ),
  (
    'convert hf weights --from=hf --to=t5',
    "argument --to: invalid choice: 't5' (choose from ... ). Did you mean "
    "'t5x'? See it-study convert --help.",
  ),
  (
    'fetch_model smollm2-135m',
    "no model 'smollm2-135m' can be fetched; available: "
    "smollm2-135m-instruct. Did you mean 'smollm2-135m-instruct'?",
  ),
  (
    'diagnose modle --corpus=corpus',
    ' ... /modle: no such checkpoint. Give the MODEL_DIR of a training, or a '
    "Hugging Face folder. Did you mean ' ... /model'?",
  ),
  # Its former name.
  (
    'audit modle --corpus=corpus',
    ' ... /modle: no such checkpoint. Give the MODEL_DIR of a training, or a '
    "Hugging Face folder. Did you mean ' ... /model'?",
  ),
  # Corpora.
  (
    'corpus fetch whole.jsonl',
    'whole.jsonl is a file. Name a directory.',
  ),
  (
    'corpus mini corpus',
    "corpus is not empty and not a miniature: it holds 'splits', but no "
    'miniature.json. Name a new or empty directory.',
  ),
  (
    'corpus controls corpus corpus',
    'corpus is the corpus itself; controls are added to a copy. Name a new '
    'directory.',
  ),
  (
    'corpus check corpsu',
    'corpus corpsu: no directory corpsu; expected one that holds tasks/ and '
    "splits/. 'it-study corpus mini DIR' writes a small corpus to start with. "
    "Did you mean 'corpus'?",
  ),
  (
    'corpus check whole.jsonl',
    'corpus whole.jsonl: whole.jsonl is not a directory; expected one that '
    "holds tasks/ and splits/. 'it-study corpus mini DIR' writes a small "
    'corpus to start with.',
  ),
  (
    'corpus audit corpus --severity=eror',
    "argument --severity: invalid choice: 'eror' (choose from ... ). Did you "
    "mean 'error'? See it-study corpus audit --help.",
  ),
  (
    'corpus stats corpus --track=defalt',
    "corpus corpus: no track 'defalt' in corpus/splits; available: default. "
    "Did you mean 'default'?",
  ),
  (
    'corpus build corpus --data_dir=whole.jsonl',
    'cannot write to whole.jsonl: File exists. Name a writable directory.',
  ),
  (
    'corpus verify corpus --data_dir=corpus',
    'corpus holds no rows: there is no directory '
    "corpus/natural_instructions_study/ ... . Build them with 'it-study corpus "
    "build corpus --data_dir corpus'.",
  ),
  # Machines.
  (
    'launch local --processes=0 -- train',
    '--processes is 0; it must be from 1 to 64, such as 2.',
  ),
  (
    'launch local train',
    'unrecognized arguments: train. The command to run follows --. See '
    'it-study launch local --help.',
  ),
  (
    f'{SLICE} -- {TRAIN} --gin.MESH_MODEL=3',
    'the mesh MESH_DATA=-1, MESH_FSDP=1, MESH_MODEL=3 does not fit '
    'v5litepod-16: it needs a multiple of 3 devices, found 16. Change the '
    'mesh.',
  ),
  (
    f'{SLICE} -- {TRAIN} --gin.MODEL_DIR=gs:/bucket/model',
    'gs:/bucket/model: expected a local folder, or one in a bucket, '
    'gs://BUCKET/FOLDER.',
  ),
  (
    f'{SLICE} --dry_run --results=whole.jsonl/results -- {TRAIN}',
    "--results is 'whole.jsonl/results', but ... /whole.jsonl is not a "
    'writable folder. Choose another.',
  ),
  (
    'launch slurm --hours=nan -- train',
    '--hours is nan; it must be above 0, such as 60.',
  ),
  (
    f'launch slurm --process_per=core -- {TRAIN}',
    "--process_per is 'core'; it must be gpu or node.",
  ),
  (
    'launch ssh --hosts=a,a -- train',
    "--hosts 'a,a': a is listed twice.",
  ),
  (
    'launch slurm --nodes=0 -- train',
    '--nodes is 0; it must be at least 1.',
  ),
  (
    'doctor --seconds=nan',
    '--seconds is nan; it must be above 0, such as 60.',
  ),
  (
    'doctor --seconds=long',
    "argument --seconds: expected a number, got 'long'. See it-study doctor "
    '--help.',
  ),
  (
    'completion fsh',
    "argument shell: invalid choice: 'fsh' (choose from ... ). Did you mean "
    "'zsh'? See it-study completion --help.",
  ),
)
