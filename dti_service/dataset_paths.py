"""From the `dataset` of a request to images on this machine, inside the run that wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dti_service.datasets.prepare import Resolved
    from dti_service.run import Run

SAMPLE = "sample"


def resolve(dataset: str, run: Run) -> Resolved:
    """The images of "sample", a path, a dataset's id, an address or JSON of documents, downloaded if need be.

    Raises GuardError with the reason and the remedy, PreparationStopped when the run is asked to stop meanwhile.
    """
    from dti_service.datasets.prepare import Datasets, Resolved
    from dti_service.settings import Settings

    if dataset == SAMPLE:
        from dti_sprites.data.samples import write_digits

        return Resolved(write_digits(run.data_dir / "samples" / "digits"))

    def progress(done: int, total: int | None, unit: str, phase: str) -> None:
        run.progress(done, total or 0, unit=unit, phase=phase)

    datasets = Datasets.from_settings(Settings.from_env().replace(data_dir=run.data_dir))
    return datasets.resolve(
        dataset, experiment_id=run.experiment_id, progress=progress, should_stop=run.should_stop
    )
