"""Classical systems: features and classifiers, a file each, by the names that params.yaml gives.

Both have a dataclass `Arguments` for a section of `baselines`. A file of features has also

    REPRESENTATIONS                  the stores that it reads
    check(arguments, stores, where)  an InputError if the stores lack what the arguments ask for
    features(arguments, stores)      (tracks, features) of the used tracks

and a file of a classifier

    fit(arguments, training, validation)   a fitted machine with scikit-learn's `predict`, and facts about it
"""
