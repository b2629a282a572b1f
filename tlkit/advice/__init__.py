"""Measured advice before training: which backbone, how deep, how long.

`advise` is the entry. `candidates` are probed stage by stage, `domain` and `image_kind` say how the
images differ from photos, `rules` turns these facts into a plan with a reason for each line.
`lines` puts them in words, `charts` and `page` show them.
"""
