"""Labels checked by the images themselves: which to doubt, and why.

`check` makes one pass over the features and returns a `LabelCheck` (`result`). The evidence is in
`confident_learning` and `outliers`, joined in `doubts`; `worklist` is the CSV a person marks;
`page` shows it. Start with `check`.
"""
