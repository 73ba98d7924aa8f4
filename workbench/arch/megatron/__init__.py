"""Megatron's own names for what a model is: config fields and command-line flags, as tables of text. Pure, no megatron import.

`fields` has the config fields that sizes have no place for and `sizes` those that they have; `flags` and `run_flags` are the
flags of Megatron-LM; `shell_words` reads a script and `options` the flags in it. `workbench.arch.megatron.arguments`
puts them together.
"""
