"""A reading as one page that works without a server or a network: pictures, names, distances and notes inside it."""

from __future__ import annotations

import base64
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from dti_service.curations.folders import picture_of, prototype_of
from dti_service.curations.table import Cluster, Image, Reading
from dti_service.errors import ServiceError
from dti_service.thumbnails import thumbnail

PICTURE_SIDE = 128  # pixels
PROTOTYPE_SIDE = 192
CHUNK = 256 * 1024
# Nothing from elsewhere is ever fetched, whatever a name or a note holds.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"

WORDS = {
    "en": {
        "search": "Search names, notes and tags",
        "images": "images",
        "larger": "Larger",
        "smaller": "Smaller",
        "distance": "distance",
        "made": "Reading of",
        "to_see": "to see",
        "checked": "checked",
        "doubtful": "doubtful",
    },
    "fr": {
        "search": "Chercher dans les noms, notes et étiquettes",
        "images": "images",
        "larger": "Agrandir",
        "smaller": "Réduire",
        "distance": "distance",
        "made": "Lecture de",
        "to_see": "à voir",
        "checked": "vérifié",
        "doubtful": "douteux",
    },
}

_STYLE = """
:root{--side:112px;color-scheme:light dark;--bg:#f6f4f0;--card:#fff;--text:#1f1c18;--muted:#625c53;--line:#dad5cc}
@media(prefers-color-scheme:dark){:root{--bg:#17181a;--card:#202225;--text:#ece9e4;--muted:#aca69c;--line:#383b40}}
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--text);font:14px/1.45 system-ui,sans-serif}
header.top{position:sticky;top:0;z-index:2;display:flex;flex-wrap:wrap;gap:8px 16px;align-items:center;
padding:10px 20px;background:var(--card);border-bottom:1px solid var(--line)}
h1{font-size:18px;margin:0}header.top p{margin:0;color:var(--muted);flex:1}
input,button{font:inherit;padding:5px 10px;border:1px solid var(--line);border-radius:6px;
background:var(--bg);color:inherit}input{width:260px}
main{padding:16px 20px 60px}section{display:grid;grid-template-columns:190px 1fr;gap:18px;margin-bottom:14px;
padding:14px;background:var(--card);border:1px solid var(--line);border-radius:10px}
h2{font-size:15px;margin:0 0 6px;overflow-wrap:anywhere}.proto{width:170px;height:170px;object-fit:contain}
.muted,figcaption{color:var(--muted)}.note{white-space:pre-wrap;overflow-wrap:anywhere}
.images{display:flex;flex-wrap:wrap;gap:8px;align-content:start}figure{margin:0;width:var(--side)}
figure img{width:var(--side);height:var(--side);object-fit:contain;display:block;cursor:zoom-in}
figcaption{font-size:11px;line-height:1.3;overflow-wrap:anywhere}.tag{font-style:italic}
figure.big{width:min(90vw,640px)}figure.big img{width:100%;height:auto;image-rendering:pixelated;cursor:zoom-out}
[hidden]{display:none!important}@media(max-width:700px){section{grid-template-columns:1fr}}
@media print{header.top{position:static}header.top input,header.top button{display:none}
body{background:#fff;color:#000}section{display:block;border:0;border-top:1px solid #999;border-radius:0;padding:8px 0}
figure{break-inside:avoid}}
"""

_SCRIPT = """
const field=document.querySelector('input');const fold=t=>t.normalize('NFD').replace(/\\p{M}/gu,'').toLowerCase();
field.addEventListener('input',()=>{const words=fold(field.value).split(/\\s+/).filter(Boolean);
for(const section of document.querySelectorAll('section')){let any=false;const head=section.dataset.text;
for(const figure of section.querySelectorAll('figure')){const text=head+' '+figure.dataset.text;
const shown=words.every(word=>text.includes(word));figure.hidden=!shown;any=any||shown;}
section.hidden=words.length>0&&!any;}});
let side=112;for(const button of document.querySelectorAll('button'))button.addEventListener('click',()=>{
side=Math.max(48,Math.min(320,side*Number(button.value)));
document.documentElement.style.setProperty('--side',side+'px');});
document.querySelector('main').addEventListener('click',event=>{
if(event.target.matches('figure img'))event.target.closest('figure').classList.toggle('big');});
"""


class Page:
    """The page of a reading, made while it is sent. `cache`: where the experiment keeps its thumbnails."""

    size = None  # not known before the end

    def __init__(
        self, reading: Reading, results: Path, cache: Path, title: str, language: str = "en"
    ) -> None:
        self.reading = reading
        self.results = results
        self.cache = cache
        self.title = title
        self.language = language if language in WORDS else "en"
        self.words = WORDS[self.language]
        self.modified = datetime.now(UTC)
        self.etag = f'W/"{int(self.modified.timestamp() * 1000):x}"'

    def close(self) -> None:
        """Nothing is held."""

    def chunks(self, start: int, end: int | None) -> Iterator[bytes]:
        block = bytearray()
        for text in self._parts():
            block += text.encode()
            if len(block) >= CHUNK:
                yield bytes(block)
                block.clear()
        yield bytes(block)

    def _parts(self) -> Iterator[str]:
        words, reading = self.words, self.reading
        facts = [
            reading.title,
            reading.author,
            reading.updated_at[:10],
            f"{len(reading.images)} {words['images']}",
        ]
        yield (
            f'<!doctype html>\n<html lang="{self.language}"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(self.title)}</title><style>{_STYLE}</style></head><body>"
            f'<header class="top"><h1>{escape(self.title)}</h1>'
            f"<p>{escape(' · '.join(fact for fact in facts if fact))}</p>"
            f'<input type="search" placeholder="{escape(words["search"])}" aria-label="{escape(words["search"])}">'
            f'<button type="button" value="0.8" aria-label="{escape(words["smaller"])}">–</button>'
            f'<button type="button" value="1.25" aria-label="{escape(words["larger"])}">+</button></header><main>'
        )
        if reading.note:
            yield f'<p class="note">{escape(reading.note)}</p>'
        for id, images in reading.members().items():
            if images:
                yield self._cluster(reading.clusters[id], images)
                for image in images:
                    yield self._image(image, reading.clusters[id])
                yield "</div></section>"
        yield f"</main><script>{_SCRIPT}</script></body></html>\n"

    def _cluster(self, cluster: Cluster, images: list[Image]) -> str:
        picture = self._data(prototype_of(self.results, cluster), PROTOTYPE_SIDE)
        prototype = f'<img class="proto" alt="" src="{picture}">' if picture else ""
        tags = f'<p class="tag">{escape(", ".join(cluster.tags))}</p>' if cluster.tags else ""
        note = f'<p class="note">{escape(cluster.note)}</p>' if cluster.note else ""
        text = _folded(f"{cluster.name} {cluster.note} {' '.join(cluster.tags)}")
        return (
            f'<section id="cluster-{escape(cluster.id)}" data-text="{escape(text)}">'
            f"<div><h2>{escape(cluster.name)}</h2>"
            f'{prototype}<p class="muted">{len(images)} {self.words["images"]} · {self.words[cluster.state]}</p>'
            f'{tags}{note}</div><div class="images">'
        )

    def _image(self, image: Image, cluster: Cluster) -> str:
        own = self.reading.notes.get(image.id, {})
        note, tags = str(own.get("note", "")), ", ".join(own.get("tags", []))
        name = image.path.rsplit("/", 1)[-1]
        picture = self._data(picture_of(self.results, image), PICTURE_SIDE)
        distance = short_distance(self.reading.distance(image, cluster))
        lines = [name, distance, f'<span class="tag">{escape(tags)}</span>' if tags else "", escape(note)]
        lines[0] = escape(name)
        text = _folded(f"{image.path} {note} {tags}")
        return (
            f'<figure id="image-{image.id}" data-text="{escape(text)}" title="{escape(image.path)}">'
            f'<img loading="lazy" alt="{escape(image.path)}" src="{picture}">'
            f"<figcaption>{'<br>'.join(line for line in lines if line)}</figcaption></figure>"
        )

    def _data(self, path: Path | None, side: int) -> str:
        """A `data:` address of a small copy, or ""."""
        if path is None:
            return ""
        try:
            small = thumbnail(path, self.cache, side).read_bytes()
        except (ServiceError, OSError):
            return ""
        return f"data:image/webp;base64,{base64.b64encode(small).decode('ascii')}"


def _folded(text: str) -> str:
    """Lower case without accents, as the search of the page has it."""
    plain = unicodedata.normalize("NFD", text)
    return "".join(sign for sign in plain if not unicodedata.combining(sign)).lower()


def short_distance(distance: str) -> str:
    """Three digits of a distance as the run wrote it, or ""."""
    try:
        return f"{float(distance):.3g}"
    except ValueError:
        return ""
