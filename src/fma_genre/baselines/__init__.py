"""Features and classifiers of the baselines, one per file. A section of `baselines` in params.yaml names one of each.

Each file has a dataclass `Arguments`, read from such a section. A features file also has

    REPRESENTATIONS                   names of the representations whose stores it reads
    check(arguments, stores, where)   raises InputError if the arguments do not fit the stores
    features(arguments, stores)       returns the features of the used tracks, (tracks, features)

A classifier file also has

    fit(arguments, training, validation)   returns a fitted classifier, and facts for the report

The classifier has scikit-learn's method `predict`. `classes_` and `predict_proba` are optional. If its `Arguments` have
the fields `seed` and `runs`, the stage fits a classifier for each run, with the seeds seed, seed + 1, ….
"""
