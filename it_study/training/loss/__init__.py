"""Parts of the training loss, `it_study.training.losses`."""
