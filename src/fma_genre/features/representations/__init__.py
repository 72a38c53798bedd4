"""Representations: kinds of spectrograms, one per file. A section of `spectrograms` in params.yaml has the file's name.

Every file has a dataclass `Arguments`, read from that section, and a class `Representation` with

    Representation(arguments, *, sample_rate, hop, floor_db)   raises ValueError for arguments that it cannot use
    frequencies()    centre of each bin in Hz (bins,), ascending; zeros if the bins are not frequencies, as in chroma
    power(samples)   mono float32 (samples,) to power (frames, bins) float32, with `1 + len(samples) // hop` frames

`power` is stored as dB below the clip's maximum, down to `floor_db`. Clips are extracted in other processes, so
pickle must be able to copy a `Representation`.
"""
