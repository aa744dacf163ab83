"""The service's views in a notebook, each in one line.

    from dti_service.widgets import ClusterBrowser, Comparison, ExperimentList, Launcher, Progress

    ClusterBrowser()            # the newest result: look, curate, export; or give an id, or the path of a directory
    Progress(run)               # a run as it goes, which becomes its result
    ExperimentList()            # all experiments
    Launcher()                  # the form that starts one
    Comparison(first, second)   # two results: which cluster became which, how images moved

They are the views of the page at /dti/, from the same modules. They read through the notebook's server where that runs
the service; elsewhere (VS Code, another server) through the kernel. A saved notebook keeps a picture of each.
"""

from dti_service.widgets.opened import open_experiment
from dti_service.widgets.views import ClusterBrowser, Comparison, ExperimentList, Launcher, Progress

__all__ = ["ClusterBrowser", "Comparison", "ExperimentList", "Launcher", "Progress", "open_experiment"]
