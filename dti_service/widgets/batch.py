"""Experiments that were submitted together: watched until they have ended, and compared."""

from __future__ import annotations

import html
import io
import time
from collections.abc import Mapping
from typing import Any

from dti_service.experiment import TERMINAL
from dti_service.widgets import pictures
from dti_service.widgets.places import Here, Place, View, refused
from dti_service.widgets.shown import Shown
from dti_service.widgets.views import Comparison

POLL_S = 0.5
MOST_PROTOTYPES = 12  # shown of each
# Figures to compare by, and whether more is better (None: it depends on what else differs).
FIGURES: dict[str, tuple[str, bool | None]] = {
    "n_images": ("images", None),
    "used_clusters": ("clusters in use", None),
    "loss": ("loss", False),
    "accuracy": ("accuracy", True),
    "nmi": ("NMI", True),
    "ari": ("ARI", True),
}


class Batch:
    """What `Desk.submit` and `Desk.sweep` give; shown by itself it says how far each experiment is."""

    def __init__(self, place: Place, varied: Mapping[str, Mapping[str, Any]]) -> None:
        self.place = place
        self.varied = {id: dict(values) for id, values in varied.items()}  # what each differs in

    @property
    def ids(self) -> list[str]:
        return list(self.varied)

    def views(self) -> list[View]:
        """The experiments as they are now, as the REST interface describes them."""
        return [self.place.get(id) for id in self.ids]

    def watch(self, timeout: float | None = None) -> None:
        """Show how far the experiments are until all have ended, or `timeout` seconds have passed.

        A notebook that is itself run by the service shows them once: they start when it has ended. Interrupting the
        kernel ends the watching; what this notebook runs itself goes back into the queue, and on with the next watch.
        """
        from IPython.display import display

        views = self.views()
        handle = display(_progress(views), display_id=True)
        end = None if timeout is None else time.monotonic() + timeout
        try:
            with self.place.served(self.ids) as step:
                while self.place.waits and not all(view["state"] in TERMINAL for view in views):
                    if end is not None and time.monotonic() >= end:
                        break
                    step()
                    time.sleep(POLL_S)
                    earlier, views = views, self.views()
                    if handle is not None and views != earlier:
                        handle.update(_progress(views))
        except KeyboardInterrupt:
            left = sum(view["state"] not in TERMINAL for view in self.views())
            print(f"No longer watched; {left} of {len(views)} have not ended. Run the cell again to go on.")

    def compare(self) -> Shown:
        """The finished experiments: what they differ in, their figures (the best of each bold), their prototypes."""
        views = self.views()
        names = list(dict.fromkeys(name for values in self.varied.values() for name in values))
        figures = {
            key: what for key, what in FIGURES.items() if any(key in view["metrics"] for view in views)
        }
        best = {key: _best(views, key, more) for key, (_, more) in figures.items()}
        rows = []
        for view in views:
            cells: list[Any] = [view["name"]]
            cells += [pictures.number(self.varied[view["id"]].get(name, "")) for name in names]
            for key in figures:
                value = view["metrics"].get(key, "")
                words = html.escape(pictures.number(value))
                cells.append(
                    Shown(f"<strong>{words}</strong>" if value != "" and value == best[key] else words, words)
                )
            cells.append(Shown(self._prototypes(view), "") if view["metrics"] else _state(view))
            rows.append(cells)
        head = ["Experiment", *names, *(words for words, _ in figures.values()), "Prototypes"]
        done = sum(view["state"] == "succeeded" for view in views)
        table = pictures.table_html(head, rows)
        text = "\n".join("  ".join(map(str, row)) for row in rows)
        return Shown(pictures.box("Comparison", f"{done} of {len(views)} finished", table), text)

    def side_by_side(self, first: int = 0, second: int = -1) -> Any:
        """Two of the finished experiments, by their place: which cluster became which, and how images moved."""
        done = [view["id"] for view in self.views() if view["state"] == "succeeded"]
        if len(done) < 2:
            text = "Two finished experiments are needed to lay them side by side."
            return Shown(f"<p>{text}</p>", text)
        try:
            pair = done[first], done[second]
        except IndexError:
            raise refused("first, second", f"must be from 0 to {len(done) - 1}") from None
        if isinstance(self.place, Here):
            return Comparison(*pair, data_dir=self.place.settings.data_dir)
        address = f"{self.place.name}dti/#/compare?a={pair[0]}&b={pair[1]}"
        link = html.escape(address, quote=True)
        return Shown(
            f'<a href="{link}" target="_blank" rel="noopener">Side by side on the server</a>', address
        )

    def _prototypes(self, view: View) -> str:
        sizes = list(view["metrics"].get("cluster_sizes") or range(MOST_PROTOTYPES))
        order = sorted(range(len(sizes)), key=lambda k: -sizes[k])[:MOST_PROTOTYPES]
        return "".join(self._prototype(view["id"], k) for k in order)

    def _prototype(self, id: str, k: int) -> str:
        for folder in ("masked_prototypes", "prototypes"):
            for suffix in (".png", ".jpg"):
                content = self.place.picture(id, f"results/{folder}/prototype{k}{suffix}")
                if content is not None:
                    return pictures.prototype(io.BytesIO(content), 36)
        return ""

    def _repr_html_(self) -> str:
        return _progress(self.views()).html

    def __repr__(self) -> str:
        return _progress(self.views()).text


def _progress(views: list[View]) -> Shown:
    """A line with a bar for each experiment."""
    rows, lines = [], []
    for view in views:
        share = _share(view)
        bar = f'<progress value="{100 * share:.0f}" max="100" aria-label="progress"></progress>'
        rows.append((view["name"], Shown(bar, ""), _state(view)))
        lines.append(f"{view['name']}: {_state(view)}")
    done = sum(view["state"] in TERMINAL for view in views)
    table = pictures.table_html(("Experiment", "", "State"), rows)
    return Shown(pictures.box("Experiments", f"{done} of {len(views)} have ended", table), "\n".join(lines))


def _share(view: View) -> float:
    if view["state"] == "succeeded":
        return 1.0
    progress = view["progress"]
    return progress["step"] / progress["total"] if progress["total"] else 0.0


def _state(view: View) -> str:
    if view["state"] == "queued":
        return f"queued, number {view['queue_position']}" if view["queue_position"] else "queued"
    if view["state"] == "failed":
        return f"failed: {(view['error'] or {}).get('message', '')}"
    progress = view["progress"]
    if view["state"] == "running" and progress["total"]:
        return f"running, {progress['step']} of {progress['total']} {progress['unit']}".rstrip()
    return pictures.STATES.get(str(view["state"]), str(view["state"]))


def _best(views: list[View], key: str, more: bool | None) -> Any:
    values = [view["metrics"][key] for view in views if isinstance(view["metrics"].get(key), int | float)]
    if more is None or len(values) < 2:
        return None
    return max(values) if more else min(values)
