"""What every HTML page and picture shares: templates, figures, charts of a run, contact sheets.

`html` renders a template with everything inside the one file; `figures` holds colours, style and
the canvas; `charts` draws what a run's report shows. Pages themselves stand beside what they tell
about, such as `advice/page.py`.
"""
