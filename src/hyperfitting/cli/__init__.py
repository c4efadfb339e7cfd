"""The command line: parse, resolve the config, call the verb, print where the result lies."""
