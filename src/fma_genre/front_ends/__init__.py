"""Front ends, one per file. A front end converts stored levels to the input of a network.

Each file has a dataclass `Arguments`, read from a section of `models` in params.yaml, and a frozen dataclass `FrontEnd`
whose fields are tensors. `FrontEnd` has these methods:

    fit(clips, arguments)                  class method; fits a front end on all frames of the training clips
    shapes(arguments, bins)                static method; returns the shape of each tensor, by name
    encode(levels)                         converts levels (…, frames, bins) to codes, which mixup can mix
    encode_shifted(batches, source_bins)   shifts the pitch of batches by moving their bins, and encodes them
    decode(codes)                          converts codes to the input of a network (…, frames, bins)
"""
