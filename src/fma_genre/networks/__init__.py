"""Networks, one per file.

Each file has a dataclass `Arguments`, read from a section of `models` in params.yaml, and a class `Network`:

    Network(arguments, bins=…, frames=…, classes=…)   constructor; raises ValueError for arguments that do not fit
    features(segments)   maps front-end output (segments, frames, bins) to the last hidden layer (segments, features)
    head(features)       maps the last hidden layer to logits (segments, classes)
    forward(segments)    applies `features`, then `head`

The constructor must also work on PyTorch's device `meta`, where tensors have shapes but no memory.
"""
