"""Looking at images through a network: what resembles what.

`neighbours` finds the images most like one; `data_map` lays all of them out on a plane by their
features. Start with `neighbours`.
"""
