"""The front ends, one file each: from stored levels to the input of a network.

A file has a dataclass `Arguments` for a section of `models`, and a frozen dataclass `FrontEnd` of tensors with

    fit(clips, arguments)           fitted on all frames of some clips (those of the training split)
    shapes(arguments, bins)         the shape of each tensor, by name
    encode(levels)                  (…, frames, bins) to codes, in which training mixes segments
    encode_shifted(batches, source_bins)   the codes of segments whose bins are moved, as a change of pitch moves them
    decode(codes)                   codes to a network's input (…, frames, bins)
"""
