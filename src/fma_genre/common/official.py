"""SHA-1 checksums of the FMA's archives, as its authors publish them (mdeff/fma)."""

METADATA_SHA1 = "f0df49ffe5f2a6008d7dc83c6915b31835dfe733"
AUDIO_SHA1 = {  # by subset
    "small": "ade154f733639d52e35e32f5593efe5be76c6d70",
    "medium": "c67b69ea232021025fca9231fc1c7c1a063ab50b",
    "large": "497109f4dd721066b5ce5e5f250ec604dc78939e",
}
