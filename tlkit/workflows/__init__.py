"""The verbs: functions above everything they use, one for each thing a user does.

`fine_tuning` is the main job in one file, and the only place that decides what is trained when
nothing is said. `evaluating` and `reports` are the verbs of their names, `recipes` runs recipe
files, `demo` is the main job on embedded data. The page of a run is made in two steps: `run_report`
gathers the values of `run_facts`, `run_page` draws them.
"""
