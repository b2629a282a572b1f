"""Augmented views: a pure function of seed, view and image content.

A `Policy` (`policies`) is a row of changes and warps; `draws` says what is drawn for which image,
`geometry` and `pixel_changes` what each change does, `apply` does it to batches. `mixing` blends
images and labels, and `views` is what training asks for. Start with `policies`.
"""
