"""The service's views in a notebook, each in one line.

    from dti_service.widgets import ClusterBrowser, Comparison, ExperimentList, Launcher, Progress

    ClusterBrowser()            # the newest result: look, curate, export; or give an id, or the path of a directory
    Progress(run)               # a run as it goes, which becomes its result
    ExperimentList()            # all experiments
    Launcher()                  # the form that starts one
    Comparison(first, second)   # two results: which cluster became which, how images moved

They are the views of the page at /dti/, from the same modules, where the notebook's server runs the service; elsewhere,
and in a saved notebook that is only read, each is a picture. Besides,

    open_experiment(id)         # facts, plots and exports of one experiment
    Desk()                      # submit, sweep, watch and compare, here or on a server
"""

from dti_service.widgets.desk import Desk
from dti_service.widgets.opened import open_experiment
from dti_service.widgets.queued import finish
from dti_service.widgets.views import ClusterBrowser, Comparison, ExperimentList, Launcher, Progress

__all__ = [
    "ClusterBrowser",
    "Comparison",
    "Desk",
    "ExperimentList",
    "Launcher",
    "Progress",
    "finish",
    "open_experiment",
]
