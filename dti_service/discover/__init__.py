"""The wire contract of the DISCOVER platform's fronts: their requests to ours, our experiments to theirs.

Pure mappings without HTTP; the routes are in `handlers/discover.py`. A start request becomes an experiment of the
notebook `dti_discover`, whose id is the tracking id.
"""

NOTEBOOK = "dti_discover"
