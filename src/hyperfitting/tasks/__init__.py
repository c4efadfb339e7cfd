"""What models still know: tasks of lm-evaluation-harness before and after tuning."""
