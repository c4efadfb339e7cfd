"""A language model as the judge of two arms' continuations (definitions, section 8.8)."""
