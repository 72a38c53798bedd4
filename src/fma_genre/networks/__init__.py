"""The networks, one file each: a dataclass `Arguments` and a class `Network` for a section of `models`.

A network takes segments `(segments, frames, bins)` of a front end's output. `features` gives the last hidden layer
`(segments, features)`, `forward` the logits `(segments, classes)`. It can also be built on torch's device `meta`,
where tensors have shapes but no memory. A constructor raises ValueError for what it
refuses.
"""
