"""Datasets: images from uploads, archives, PDFs, IIIF manifests, lists of addresses and folders, made safe and kept.

`request` says what is wanted, `sources` finds the images, `guard` decides on everything from outside, `build` makes
the directory, `catalogue` keeps the directories, `prepare` is what runs and the server call.
"""
