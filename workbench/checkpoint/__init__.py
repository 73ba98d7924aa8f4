"""Checkpoints: read any of them safely, compare two, infer the pattern, convert the names. numpy; never megatron.

`opening` finds out what a path is and hands out a `source.Checkpoint`: names, shapes and `tensors.StoredTensor`s, which are
places in files (`buffers`) and no arrays. `reading` holds one module a format, `layouts` what names mean and how
other layouts write them. On these stand `inspect` (its parts in `inference`, its result in `inspection`), `diff` (`comparing`,
`differences`) and `convert` (`converting`, `conversion`). The three results are pure data, which views and command line show.
"""
