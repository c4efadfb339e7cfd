"""From the files of a study to tables, figures and a page. No torch, no transformers."""
