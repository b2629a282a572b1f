"""Fine-tuning as data: what a phase may say, and each vocabulary it draws from.

`phase` is the one to read first: a `Phase` names its schedule, loss, optimizer and sampling, and
each of these is a table in the file of that name. `recipe_format` writes phases down as a Python
file and reads them back without running it. Nothing here knows a network or an image.
"""
