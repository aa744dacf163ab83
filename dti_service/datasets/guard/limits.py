"""How much the guard lets through, in one place."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dti_service.settings import Settings

MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True)
class Limits:
    """Sizes in bytes, times in seconds, unless the name says otherwise."""

    # addresses
    url_length: int = 4096
    redirects: int = 5
    connect_s: float = 10.0
    silence_s: float = 30.0  # longest wait for the next byte
    attempts: int = 3  # per address, on failures that may pass
    parallel_downloads: int = 4

    # downloads: the whole transfer, however slowly it drips
    document_bytes: int = 2 * GIB
    document_s: float = 4 * 3600.0
    image_bytes: int = 256 * MIB
    image_s: float = 180.0
    json_bytes: int = 32 * MIB
    json_s: float = 120.0
    # An image behind an address whose server names neither ETag nor Last-Modified is taken as unchanged for so
    # long; only for IIIF image services, whose addresses stand for one picture.
    trusted_age_s: float = 24 * 3600.0

    # JSON
    json_depth: int = 64
    json_items: int = 2_000_000

    # archives
    archive_members: int = 200_000
    archive_directory_bytes: int = 64 * MIB
    archive_bytes: int = 20 * GIB  # unpacked
    archive_ratio: float = (
        200.0  # unpacked over packed, of the whole archive, once it is larger than `archive_small`
    )
    archive_small: int = 64 * MIB

    # images
    image_pixels: int = 100_000_000
    image_side: int = 65_000  # pixels
    image_metadata_bytes: int = MIB  # more EXIF, ICC, XMP and text than this is dropped

    # PDF
    pdf_pages: int = 3000
    pdf_long_side: int = 3000  # pixels
    pdf_dpi: float = 500.0

    # IIIF: larger images are asked for at this size
    iiif_long_side: int = 3000  # pixels

    # one dataset
    documents: int = 1000
    images: int = 100_000
    crops: int = 200_000
    dataset_bytes: int = 50 * GIB
    reserve_bytes: int = 256 * MIB  # left free on the disk

    # the process that decodes
    decoder_memory: int = 2 * GIB
    decoder_cpu_s: int = 60  # for one image or page
    decoder_s: float = 120.0  # the same, wall clock
    decoder_file_bytes: int = GIB

    @classmethod
    def from_settings(cls, settings: Settings) -> Limits:
        """The defaults, with the largest document taken from the setting for uploads."""
        return replace(cls(), document_bytes=settings.max_upload_mb * MIB)
