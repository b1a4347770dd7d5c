"""Our checkpoints, and strict reading and writing of other formats."""
