# ruff: noqa: E501 (JavaScript in texts)
"""The modules without DOM, in the browser that runs them: curation, order, layout, tables, forms."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dti_service

Modules = Callable[[str], Any]

# Six images in three clusters (one of them empty), with distances to all prototypes.
RESULT = r"""
const { Result } = await load('logic/table');
const text = [
  'image_id,path,cluster_id,distance,dist_cluster_0,dist_cluster_1,dist_cluster_2',
  '0,a/0.png,0,0.1,0.1,0.5,0.9',
  '1,a/1.png,0,0.2,0.2,0.25,0.9',
  '2,b/2.png,1,0.3,0.8,0.3,0.31',
  '3,"b/3, ""x"".png",1,0.1,0.8,0.1,0.9',
  '4,b/4.png,0,0.4,0.4,0.6,0.5',
  '5,c/5.png,0,0.05,0.05,0.6,0.5',
].join('\n') + '\n';
const result = new Result(text, { k: 3 });
const { Curation, UNSORTED, difference } = await load('logic/curation');
const nameOf = (k) => `Cluster ${k}`;
const curation = new Curation(result, null, { nameOf, author: 'Marie' });
const members = (id) => [...curation.members(id)].sort();
const state = () => JSON.stringify([curation.order, curation.order.map((id) => [curation.name(id), [...curation.members(id)].sort(),
  curation.cluster(id).state, curation.cluster(id).tags, curation.cluster(id).prototype]), curation.place, [...curation.images]]);
"""


def test_a_table_is_read(modules: Modules) -> None:
    found = modules(
        RESULT
        + """return { n: result.n, k: result.k, name: result.names[3], labels: [...result.labels], own: result.to(2, 1),
        other: result.to(2, 2), near: result.nearest(2, 2), doubt: [result.doubt(1), result.doubt(0)] };"""
    )
    assert (found["n"], found["k"], found["name"]) == (6, 3, 'b/3, "x".png')
    assert found["labels"] == [0, 0, 1, 1, 0, 0]
    assert [found["own"], found["other"]] == pytest.approx([0.3, 0.31])
    assert [near["cluster"] for near in found["near"]] == [1, 2]
    assert found["doubt"] == pytest.approx([0.8, 0.2])


def test_distances_are_read_after_the_members(modules: Modules) -> None:
    found = modules(
        RESULT
        + r"""const columns = text.split('\n')[0].split(',');
        const table = text.split('\n').map((line) => line.split(',').slice(0, line.includes('"') ? 5 : 4).join(',')).join('\n');
        const later = Result.of({ columns, table, images: 'jpg' });
        const early = [later.k, later.whole, later.hasAll, later.to(2, 1), Number.isNaN(later.to(2, 2)), later.nearest(2, 3).length, later.images];
        const shuffled = text.trimEnd().split('\n');
        shuffled.splice(1, 0, shuffled.pop(), '77,gone.png,0,0.1,0.1,0.1,0.1'); // in another order, and one that is not known
        let steps = 0;
        for (const row of later.reading(shuffled.join('\n') + '\n')) steps += 1;
        const same = [0, 1, 2, 3, 4, 5].every((row) => [...later.distances(row)].every((value, k) => value === result.distances(row)[k]));
        return { early, steps, whole: [later.whole, later.hasAll], same, doubt: later.doubt(1), name: later.names[3] };"""
    )
    assert found["early"][:3] == [3, False, False]
    assert found["early"][3] == pytest.approx(0.3)
    assert found["early"][4:] == [True, 1, "jpg"]
    assert (found["steps"], found["whole"], found["same"]) == (6, [True, True], True)
    assert found["doubt"] == pytest.approx(0.8)
    assert found["name"] == 'b/3, "x".png'


def test_what_was_sent_one_by_one_comes_from_its_folder(modules: Modules) -> None:
    """ "upload" is how the files are kept here; a reader knows them by their folders."""
    found = modules(
        """const { Result, sourceColumn } = await load('logic/table');
        const of = (text) => { const source = sourceColumn(new Result(text)); return [0, 1].map(source); };
        return [of('image_id,path,cluster_id,document\\n0,a/0.png,0,upload\\n1,a/1.png,0,Lyon 1501\\n'),
          of('image_id,path,cluster_id\\n0,a/b/0.png,0\\n1,1.png,0\\n')];"""
    )
    assert found == [["a", "Lyon 1501"], ["a/b", ""]]


def test_what_a_result_needs_is_asked_for_with_the_page() -> None:
    """A module that is missing from the list would be found only when the one that imports it has arrived."""
    web = Path(dti_service.__file__).parent / "web"
    needed, waiting = set(), ["app.js", "views/experiment.js"]
    while waiting:
        name = waiting.pop()
        if name in needed:
            continue
        needed.add(name)
        text = (web / "static" / name).read_text(encoding="utf-8")
        for other in re.findall(r"^(?:import|export)\b[^;]*? from '([^']+)';", text, re.MULTILINE):
            waiting.append(posixpath.normpath(posixpath.join(posixpath.dirname(name), other)))
    page = (web / "index.html").read_text(encoding="utf-8")
    listed = re.findall(r'rel="modulepreload" href="\{\{ static \}\}/([^"]+)"', page)
    assert sorted([*listed, "app.js"]) == sorted(needed)


def test_a_table_of_many_kinds_of_lines(modules: Modules) -> None:
    found = modules(
        """const { records, fields } = await load('logic/table');
        const lines = records('\\ufeffa,b\\r\\n1,"x\\ny"\\r\\n\\r\\n2,""\\r\\n');
        return [lines, fields(lines[1]).out, fields('a,,"b""c",', 2), fields('a,,"b""c",').out];"""
    )
    assert found[0] == ["a,b", '1,"x\ny"', '2,""']
    assert found[1] == ["1", "x\ny"]
    assert found[2] == {"out": ["a", ""], "rest": '"b""c",'}
    assert found[3] == ["a", "", 'b"c', ""]


def test_distances_of_moved_images_are_looked_up(modules: Modules) -> None:
    """The old viewer wrote number + 10 for the distance of a moved image."""
    found = modules(
        RESULT
        + """curation.move([1], '1'); const made = curation.create([4], { name: 'Odd' });
        return [curation.distance(1), curation.distance(4), curation.doubt(1), curation.doubt(4), made.id];"""
    )
    assert found[0] == pytest.approx(0.25)
    assert found[1] is None or found[1] != found[1]  # NaN: the cluster stands for no prototype
    assert found[2] == pytest.approx(0.25 / 0.2)  # above 1: another cluster fits better
    assert found[4] == "new-1"


# Each does something with `curation`; all are undone and done again below.
ACTIONS = {
    "rename": "curation.rename('0', 'Lombards');",
    "move": "curation.move([0, 2, 3], '2');",
    "move to the unsorted": "curation.move([0], UNSORTED);",
    "merge": "curation.merge('0', '1', { name: 'Both', prototype: 0 });",
    "split": "curation.split('0', [0, 4], 'Second half');",
    "create": "curation.create([0, 3], { name: 'Odd', beside: '0' });",
    "remove empty": "curation.removeEmpty();",
    "state": "curation.setState('1', 'checked');",
    "note and tags": "curation.setNote('1', 'fol. 3'); curation.setTags('1', ['red', 'blue']);",
    "image note": "curation.noteImages([0, 1], 'same block');",
    "image tags": "curation.tagImages([0, 1], { add: ['copy'] }); curation.tagImages([1], { remove: ['copy'] });",
    "review": "curation.review(1, '1'); curation.review(0);",
    "everything": """curation.move([0, 1], '1'); curation.merge('1', '2'); curation.split('2', [0, 2], 'Part');
        curation.rename('0', 'A'); curation.move([3], UNSORTED); curation.create([], { name: 'Empty' });
        curation.removeEmpty(); curation.merge('new-1', '0', { name: 'A and part' }); curation.review(4, '0');""",
}


@pytest.mark.parametrize("action", ACTIONS, ids=str)
def test_everything_is_undone_and_done_again(modules: Modules, action: str) -> None:
    found = modules(
        RESULT
        + f"""const before = state(); {ACTIONS[action]} const after = state(); const steps = curation.cursor;
        while (curation.undo()); const undone = state(); while (curation.redo()); const redone = state();
        curation.goTo(0); const walked = state(); curation.goTo(steps);
        const saved = JSON.parse(JSON.stringify(curation.toDocument()));
        const again = new Curation(result, saved, {{ nameOf }}); const opened = JSON.stringify(again.toDocument().state);
        return {{ before, after, undone, redone, walked, steps, opened, kept: JSON.stringify(saved.state) }};"""
    )
    assert found["steps"] > 0
    assert found["after"] != found["before"]
    assert found["undone"] == found["walked"] == found["before"]
    assert found["redone"] == found["after"]
    assert found["opened"] == found["kept"]  # a saved reading opens as it was, with its whole history


def test_operations_that_change_nothing_leave_no_trace(modules: Modules) -> None:
    found = modules(
        RESULT
        + """const answers = [curation.rename('0', 'Cluster 0'), curation.rename('0', '  '), curation.move([0], '0'),
          curation.move([], '1'), curation.merge('0', '0'), curation.setState('0', 'to_see'), curation.setState('0', 'no such'),
          curation.noteImages([0], ''), curation.tagImages([0], { remove: ['x'] }), curation.split('1', [2, 3], 'all').operation];
        return [answers, curation.operations.length];"""
    )
    assert found == [[None] * 10, 0]


def test_what_was_undone_is_replaced_by_what_is_done_then(modules: Modules) -> None:
    found = modules(
        RESULT
        + """curation.rename('0', 'A'); curation.rename('0', 'B'); curation.undo(); curation.rename('0', 'C');
        return [curation.name('0'), curation.canRedo, curation.operations.map((one) => one.data.to)];"""
    )
    assert found == ["C", False, ["A", "C"]]


def test_documents_are_not_changed_in_place(modules: Modules) -> None:
    """The old viewer pushed into the images of an old state, which made undo impossible."""
    found = modules(
        RESULT
        + """curation.move([0], '1'); const one = JSON.stringify(curation.toDocument().operations);
        const first = curation.members('0'); curation.move([1], '1');
        return [JSON.stringify(curation.toDocument().operations.slice(0, 1)) === one, first.length];"""
    )
    assert found == [True, 3]


def test_a_merge_keeps_the_survivor_that_was_chosen(modules: Modules) -> None:
    found = modules(
        RESULT
        + """curation.merge('1', '0', { name: 'Cluster 1' }); const kept = curation.distance(3);
        return [curation.has('1'), curation.name('0'), members('0'), curation.cluster('0').prototype, kept, curation.home(1)];"""
    )
    assert found == [False, "Cluster 1", [0, 1, 2, 3, 4, 5], 0, pytest.approx(0.8), None]


def test_two_readings_are_compared(modules: Modules) -> None:
    found = modules(
        RESULT
        + """const other = new Curation(result, null, { nameOf }); other.move([0, 1], '1'); other.move([2], '2'); other.rename('0', 'A');
        const { moves, renamed } = difference(curation, other); return [moves.map((one) => [one.from, one.to, one.rows]), renamed];"""
    )
    assert found[0] == [["Cluster 0", "Cluster 1", [0, 1]], ["Cluster 1", "Cluster 2", [2]]]
    assert found[1] == [{"id": "0", "from": "Cluster 0", "to": "A"}]


# -- order ------------------------------------------------------------------------------------------------------


def test_images_in_order(modules: Modules) -> None:
    found = modules(
        RESULT
        + """const { sortImages } = await load('logic/order');
        const of = { distance: (row) => curation.distance(row), doubt: (row) => curation.doubt(row), name: (row) => result.names[row],
            source: (row) => (row % 2 ? 'Paris' : 'Lyon') };
        return ['best', 'worst', 'doubt', 'source'].map((by) => sortImages([0, 1, 4, 5], by, of));"""
    )
    assert found == [[5, 0, 1, 4], [4, 1, 0, 5], [1, 4, 0, 5], [0, 4, 1, 5]]


def test_nothing_re_sorts_under_the_hand(modules: Modules) -> None:
    found = modules(
        RESULT
        + """const { Arrangement } = await load('logic/arrangement');
        const arrangement = new Arrangement(curation, { order: 'best', clusterOrder: 'size' });
        const before = arrangement.ids.map((id) => [id, arrangement.list(id)]);
        const operation = curation.move([5, 0, 1], '1');
        arrangement.before(operation); arrangement.follow(operation);
        const after = arrangement.ids.map((id) => [id, arrangement.list(id)]);
        curation.undo(); arrangement.follow(operation, { undone: true });
        const undone = arrangement.ids.map((id) => [id, arrangement.list(id)]);
        curation.redo(); arrangement.arrange();
        return { before, after, undone, sorted: arrangement.ids };"""
    )
    assert found["before"] == [["0", [5, 0, 1, 4]], ["1", [3, 2]], ["2", []]]
    # Cluster 0 is smaller now and keeps its place; those that came stand first, the others as they were.
    assert found["after"] == [["0", [4]], ["1", [5, 0, 1, 3, 2]], ["2", []]]
    assert found["undone"] == found["before"]
    assert found["sorted"] == ["1", "0", "2"]


def test_the_filter_finds_words_sources_and_tags(modules: Modules) -> None:
    found = modules(
        RESULT
        + """const { imageFilter } = await load('logic/order'); curation.rename('1', 'Évangile'); curation.noteImages([4], 'damaged');
        curation.tagImages([0], { add: ['copy'] }); curation.move([5], '1');
        const hits = (filter) => { const test = imageFilter(filter, curation); return [0, 1, 2, 3, 4, 5].filter(test ?? (() => true)); };
        return [hits({}), hits({ text: 'evangile' }), hits({ text: 'DAMAGED b/' }), hits({ source: 'a' }), hits({ tag: 'copy' }), hits({ only: 'moved' }), hits({ only: 'noted' })];"""
    )
    assert found == [[0, 1, 2, 3, 4, 5], [2, 3, 5], [4], [0, 1], [0], [5], [0, 4]]


def test_proposals_come_from_the_distances(modules: Modules) -> None:
    found = modules(
        """const { Result } = await load('logic/table'); const { proposeSplit, similar } = await load('logic/order');
        const rows = Array.from({ length: 10 }, (_, i) => `${i},${i}.png,0,0.1,0.1,${i < 4 ? 0.2 : 0.9},0.5`);
        const result = new Result(['image_id,path,cluster_id,distance,dist_cluster_0,dist_cluster_1,dist_cluster_2', ...rows].join('\\n'));
        return [proposeSplit(result, [...Array(10).keys()]).sort(), similar(result, 0, 3).map(({ row }) => row).sort()];"""
    )
    assert found == [[0, 1, 2, 3], [1, 2, 3]]


def test_the_selection_across_clusters(modules: Modules) -> None:
    found = modules(
        """const { Selection } = await load('logic/selection'); const chosen = new Selection(); const told = [];
        chosen.subscribe((rows) => told.push([...rows])); const order = [5, 0, 1, 4, 3, 2];
        chosen.toggle(0); chosen.extend(3, order); const range = chosen.values(); chosen.invert([5, 0]); const inverted = chosen.values();
        chosen.replace([2, 5]); chosen.clear(); return { range, inverted, told, size: chosen.size };"""
    )
    assert found["range"] == [0, 1, 4, 3]
    assert sorted(found["inverted"]) == [1, 3, 4, 5]
    assert found["size"] == 0
    assert found["told"][1] == [1, 4, 3]  # only what changed is drawn anew
    assert sorted(found["told"][3]) == [1, 2, 3, 4]


# -- layout -------------------------------------------------------------------------------------------------------

LAYOUT = """
const { layout, sectionsWithin, tilesWithin, tilePlace, tilesInRect, keepPlace, listWindow } = await load('logic/layout');
const clusters = Array.from({ length: 50 }, (_, i) => ({ id: String(i), count: 200 + (i % 3), open: i === 4 }));
"""


@pytest.mark.parametrize("mode", ["rows", "grid"])
def test_nothing_overlaps_and_nothing_is_left_out(modules: Modules, mode: str) -> None:
    """In the old viewer cards covered each other, and of 15 images 8 could be reached."""
    found = modules(
        LAYOUT
        + f"""const problems = [];
        for (const width of [320, 600, 936, 1324, 2200]) for (const tile of [40, 88, 240]) {{
          const view = layout({{ mode: '{mode}', width, tile, clusters }});
          view.sections.forEach((one, at) => {{
            if (one.x < 0 || one.x + one.w > width + 0.5) problems.push(['too wide', width, tile, one.id]);
            if (one.shown + one.hidden !== one.count) problems.push(['lost', width, tile, one.id]);
            const cells = one.shown + (one.hidden ? 1 : 0);
            for (const n of [0, cells - 1]) {{
              const place = tilePlace(one, n);
              if (place.x + tile > one.w + 0.5 && one.cols > 1) problems.push(['sticks out', width, tile, one.id]);
              if (place.y + tile > one.h) problems.push(['too low', width, tile, one.id]);
            }}
            for (const other of view.sections.slice(at + 1)) {{
              const apart = other.x >= one.x + one.w || other.x + other.w <= one.x || other.y >= one.y + one.h;
              if (!apart) problems.push(['overlap', width, tile, one.id, other.id]);
            }}
          }});
          if (view.sections[4].hidden !== 0) problems.push(['open but folded', width, tile]);
        }}
        return problems;"""
    )
    assert found == []


def test_only_what_is_in_sight_is_drawn(modules: Modules) -> None:
    found = modules(
        LAYOUT
        + """const view = layout({ mode: 'rows', width: 1324, tile: 88, clusters });
        const counts = []; const seen = new Set();
        for (let top = 0; top < view.height; top += 700) {
          let drawn = 0;
          for (const section of sectionsWithin(view, top, top + 800)) {
            const [from, to] = tilesWithin(section, top, top + 800);
            for (let n = from; n < Math.min(to, section.shown); n += 1) { drawn += 1; seen.add(`${section.id}/${n}`); }
          }
          counts.push(drawn);
        }
        return [Math.max(...counts), seen.size, view.sections.reduce((sum, one) => sum + one.shown, 0)];"""
    )
    most, seen, shown = found
    assert most < 200
    assert seen == shown


def test_a_frame_catches_the_images_it_touches(modules: Modules) -> None:
    found = modules(
        LAYOUT
        + """const view = layout({ mode: 'rows', width: 1324, tile: 88, clusters });
        const first = view.sections[0]; const a = tilePlace(first, 1); const b = tilePlace(first, first.cols + 2);
        const inside = tilesInRect(view, { x: a.x + 10, y: a.y + 10, w: b.x - a.x, h: b.y - a.y });
        const two = tilesInRect(view, { x: a.x, y: first.y + first.h - 40, w: 60, h: view.sections[1].y + 60 - first.h });
        return [inside, first.cols, two.map(({ id }) => id)];"""
    )
    columns = found[1]
    assert found[0] == [{"id": "0", "numbers": [1, 2, columns + 1, columns + 2]}]
    assert found[2] == ["0", "1"]


def test_the_place_is_kept(modules: Modules) -> None:
    found = modules(
        LAYOUT
        + """const before = layout({ mode: 'rows', width: 1324, tile: 88, clusters });
        const after = layout({ mode: 'rows', width: 1324, tile: 88, clusters: clusters.map((one) => ({ ...one, open: one.id === '0' })) });
        const scroll = before.sections[7].y + 33;
        return [keepPlace(before, after, '7', scroll) - after.sections[7].y, keepPlace(before, after, 'gone', 5),
          listWindow({ total: 10000, rowHeight: 84, top: 84 * 5000, height: 840, over: 6 }), listWindow({ total: 3, rowHeight: 84, top: 0, height: 840 })];"""
    )
    assert found == [33, 5, [4994, 5016], [0, 3]]


# -- forms, words ---------------------------------------------------------------------------------------------------


def test_plain_questions_become_a_sequence(modules: Modules) -> None:
    found = modules(
        """const { sequenceOf, variationsOf, clusterHint } = await load('logic/transforms');
        return [sequenceOf([]), sequenceOf(['position']), sequenceOf(['ink', 'position', 'slant']), sequenceOf(['perspective', 'size', 'bend', 'stroke']),
          variationsOf('identity_col_aff_tps'), variationsOf(null), clusterHint(100), clusterHint(2)];"""
    )
    assert found[:4] == [
        "identity",
        "identity_similarity",
        "identity_color_affine",
        "identity_projective_morpho_tps",
    ]
    assert found[4] == ["position", "size", "rotation", "slant", "ink", "bend"]
    assert found[5] == []
    assert found[6] == [3, 7, 12]
    assert found[7] is None


def test_the_form_follows_the_schema(modules: Modules) -> None:
    found = modules(
        """const { formFields, valueOf, changed, errorsByField } = await load('logic/schema');
        const fields = formFields({ properties: {
          k: { type: 'integer', minimum: 1, maximum: 50, default: 10, 'x-group': 'basic' },
          lr: { type: ['number', 'null'], default: null }, init: { type: ['string', 'null'], enum: ['a', 'b', null], default: null },
          fast: { type: 'boolean', default: false } } });
        const [k, lr, init, fast] = fields;
        return [fields.map((one) => [one.name, one.type, one.group, one.nullable]), valueOf(k, '12'), valueOf(k, '0'), valueOf(k, '1.5'), valueOf(k, ''),
          valueOf(lr, '0,01'), valueOf(lr, ''), valueOf(lr, 'x'), valueOf(init, 'b'), valueOf(init, 'c'), valueOf(fast, true),
          changed(fields, { k: 10, lr: 0.5, fast: false }), [...errorsByField([{ field: 'parameters.k', reason: 'too many' }, { field: 'k', reason: 'odd' }])]];"""
    )
    assert found[0] == [
        ["k", "integer", "basic", False],
        ["lr", "number", "advanced", True],
        ["init", "choice", "advanced", True],
        ["fast", "boolean", "advanced", False],
    ]
    assert found[1:5] == [
        {"value": 12},
        {"error": "form.error.min", "params": {"min": 1}},
        {"error": "form.error.integer"},
        {"value": 10},
    ]
    assert found[5:8] == [{"value": 0.01}, {"value": None}, {"error": "form.error.number"}]
    assert found[8:11] == [{"value": "b"}, {"error": "form.error.choice"}, {"value": True}]
    assert found[11] == {"lr": 0.5}
    assert found[12] == [["k", "too many; odd"]]


def test_both_languages_have_the_same_words(modules: Modules) -> None:
    found = modules(
        """const en = (await load('i18n/en')).default; const fr = (await load('i18n/fr')).default;
        const holes = (entry) => [...new Set(JSON.stringify(entry).match(/\\{\\w+\\}/g) ?? [])].sort().join();
        const shape = (entry) => (typeof entry === 'string' ? 'text' : Object.keys(entry).sort().join());
        return { missing: Object.keys(en).filter((key) => !(key in fr)), extra: Object.keys(fr).filter((key) => !(key in en)),
          holes: Object.keys(en).filter((key) => holes(en[key]) !== holes(fr[key])), shape: Object.keys(en).filter((key) => shape(en[key]) !== shape(fr[key])) };"""
    )
    assert found == {"missing": [], "extra": [], "holes": [], "shape": []}


def test_numbers_dates_and_plurals(modules: Modules) -> None:
    found = modules(
        """const { createI18n, loadWords } = await load('lib/i18n');
        const en = createI18n('en', await loadWords('en'), ['en-GB']); const fr = createI18n('fr', await loadWords('fr'), ['fr-FR']);
        return [en.t('n.images', { n: 1 }), en.t('n.images', { n: 1200 }), fr.t('n.images', { n: 0 }), fr.distance(0.0834), en.duration(3725), fr.duration(59),
          en.t('no.such.key'), en.distance(NaN), en.bytes(1234567)];"""
    )
    assert found[0] == "1 image"
    assert found[1] == "1,200 images"
    assert found[2] == "0 image"  # French counts nought as one
    assert found[3] == "0,083"
    assert found[4:] == ["1 h 2 min", "59 s", "no.such.key", "–", "1.2 MB"]


def test_a_place_has_an_address(modules: Modules) -> None:
    found = modules(
        """const { parseHash, formatHash } = await load('lib/router');
        const hash = formatHash(['e', 'a b/c', 'c', '3'], { v: 'r&1', none: null });
        return [hash, parseHash(hash), parseHash(''), parseHash('#/%zz')];"""
    )
    assert found[0] == "#/e/a%20b%2Fc/c/3?v=r%261"
    assert found[1] == {"path": ["e", "a b/c", "c", "3"], "query": {"v": "r&1"}}
    assert found[2] == {"path": [], "query": {}}
    assert found[3]["path"] == ["%zz"]


def test_names_of_readings(modules: Modules) -> None:
    found = modules(
        """const { slug } = await load('lib/session');
        return [slug('Lecture de Marie !'), slug('Éléonore', ['eleonore']), slug('…'), slug('raw'), slug('x'.repeat(99)).length];"""
    )
    assert found == ["lecture-de-marie", "eleonore-2", "reading", "raw-2", 40]


def test_filters_by_what_else_the_table_says(modules: Modules) -> None:
    """Date, place and any other column with few values; a name that is different for each image is no filter."""
    found = modules(
        """const { Result } = await load('logic/table');
        const { Curation } = await load('logic/curation');
        const { facetsOf, imageFilter, years } = await load('logic/order');
        const result = new Result(['image_id,path,cluster_id,distance,document,page,date,place,dist_cluster_0',
          '0,a.png,0,0.1,ms1,1,c. 1480,Lyon,0.1', '1,b.png,0,0.2,ms1,2,1492-1495,Paris,0.2',
          '2,c.png,0,0.3,ms2,1,s. XV,Lyon,0.3', '3,d.png,0,0.3,ms2,2,,,0.3'].join('\\n') + '\\n', { k: 1 });
        const curation = new Curation(result, null);
        const rows = (filter) => [0, 1, 2, 3].filter(imageFilter(filter, curation));
        return { facets: facetsOf(result, ['document']).map(({ column, values, dates }) => [column, values.length, dates]),
          place: rows({ facets: { place: 'Lyon' } }), from: rows({ facets: { date: { from: '1485' } } }),
          both: rows({ facets: { date: { to: '1493' }, place: 'Paris' } }), years: [years('1492-1495'), years('s. XV')],
          cluster: rows({ cluster: '0', text: 'b' }), none: imageFilter({ facets: { date: {}, place: '' } }, curation) };"""
    )
    assert found["facets"] == [["date", 3, True], ["place", 2, False]]
    assert found["place"] == [0, 2]
    assert found["from"] == [1]
    assert found["both"] == [1]
    assert found["years"] == [[1492, 1495], None]
    assert found["cluster"] == [1]
    assert found["none"] is None


def test_two_groupings_are_compared(modules: Modules) -> None:
    """Names of clusters say nothing; which images they share does."""
    found = modules(
        """const { compareGroupings } = await load('logic/matching');
        const grouping = (labels, k) => ({ clusters: Array.from({ length: k }, (_, at) => ({ id: String(at), name: String(at) })),
          place: new Map(labels.map((label, at) => [`i${at}`, label])) });
        const a = grouping([0, 0, 0, 1, 1, 1, 2, 2], 3);
        const b = grouping([1, 1, 0, 0, 0, 0, 2], 3);
        const c = compareGroupings(a, b);
        const same = compareGroupings(a, grouping([2, 2, 2, 0, 0, 0, 1, 1], 3));
        return { match: c.match, kept: c.kept, onlyA: c.onlyA, moves: c.moves, same: [same.match, same.agree, same.ari] };"""
    )
    assert found["match"] == [1, 0, 2]
    assert found["kept"] == 6
    assert found["onlyA"] == ["i7"]
    assert found["moves"] == [{"a": 0, "b": 0, "names": ["i2"]}]
    assert found["same"] == [[2, 0, 1], 1, 1]


def test_the_time_of_a_run(modules: Modules) -> None:
    """A first guess by the size of images, corrected by runs that have finished on the same kind of device."""
    found = modules(
        """
        const { estimateRun } = await load('logic/estimate');
        const own = { n: 300, parameters: { dataset: 'x', n_prototypes: 10 }, device: 'cpu' };
        const guess = estimateRun(own);
        const past = [{ device: 'cpu', parameters: { n_prototypes: 10, image_size: 64, epochs: 5 },
                        metrics: { images_per_s: 1 / (3.0e-6 * 64 * 64) / 2, epochs: 5, n_images: 50 } }];
        return {
            guess, slow: estimateRun({ ...own, past }), gpu: estimateRun({ ...own, device: 'cuda:0', past }),
            unknown: estimateRun({ ...own, parameters: { preset: 'mine' } }), none: estimateRun({ ...own, n: NaN }),
            more: estimateRun({ ...own, parameters: { ...own.parameters, n_prototypes: 40 } }),
        };
        """
    )
    # 300 images in steps of 32 are 10 steps an epoch: 300 epochs for 3000 steps, at 3 microseconds a pixel.
    training = 300 * 300 * 3.0e-6 * 64 * 64
    assert found["guess"] == {"seconds": pytest.approx(15 + training), "runs": 0}
    assert found["slow"] == {"seconds": pytest.approx(15 + 2 * training), "runs": 1}
    assert found["more"]["seconds"] == pytest.approx(15 + 1.16 * training)
    assert found["gpu"] is found["unknown"] is found["none"] is None
