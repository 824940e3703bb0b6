"""How every flow of a table is built and trained, whoever trains it."""

TRANSFORMS = 5
HIDDEN = 128
BATCH = 512
LEARNING_RATE = 1e-3
CLIP_NORM = 5.0
VALIDATION_INTERVAL = 250
