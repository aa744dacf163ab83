"""Choosing among trainings: restarts with several seeds, and a sweep over the number of prototypes.

from dti_sprites.choose import sweep, train_best
run = train_best(config, "images/", "runs/a", restarts=5)       # the seed of the lowest loss
found = sweep(config, "images/", "runs/k", ks=[5, 10, 20])      # a table, a picture and a suggestion
print(found.advice.text)
"""

from dti_sprites.choose.advice import Advice, advise
from dti_sprites.choose.restarts import train_best
from dti_sprites.choose.sweep import Sweep, SweepRow, sweep
from dti_sprites.choose.trial import Trial, stability, train_one

__all__ = ["Advice", "Sweep", "SweepRow", "Trial", "advise", "stability", "sweep", "train_best", "train_one"]
