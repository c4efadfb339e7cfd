"""What is compared, opened once: runs or checkpoints, on texts that no model was trained on."""
