"""T5X as the engine, where it is installed."""

from it_study.engines.t5x.engine import finetune as finetune, predict as predict
