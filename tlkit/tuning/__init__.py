"""Search for better settings: many short trials, the best again in full, one winner.

`search` is the entry. `space` says what may vary, `proposals` what to try next, `study` remembers.
A `searcher` hands each trial to a `worker`, whose other end is `process`, which does a `trial`;
`finalists` and `conclusion` name the winner. `distributed` and `chief` are for several machines.
"""
