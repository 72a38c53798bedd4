"""Linear SVM that stacks systems: it predicts the genre of a track from the outputs of the systems.

The SVM is scikit-learn's LinearSVC with a fixed C: a binary SVM for each genre against the rest, with an L2 penalty and
the squared hinge loss. Its solver for the primal problem draws no random numbers.
"""

import numpy as np

C = 1.0
FOLDS = 5
SEED = 0  # of the folds


def predict(features: np.ndarray, labels: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Fit an SVM to tracks; return the labels (other tracks,) that it predicts for others.

    A genre without tracks is never predicted. With tracks of a single genre, this genre is always predicted.

    Args:
        features: (tracks, features).
        labels: (tracks,).
        others: (other tracks, features).
    """
    from sklearn.svm import LinearSVC  # the import takes a third of a second, and by default no system is stacked

    if len(np.unique(labels)) == 1:
        return np.full(len(others), labels[0])
    return LinearSVC(C=C, dual=False).fit(features, labels).predict(others)


def predict_out_of_fold(features: np.ndarray, labels: np.ndarray, artists: np.ndarray) -> np.ndarray:
    """Predict each track by an SVM that is fitted to the tracks of the other folds; return the labels (tracks,).

    The genres of an artist's tracks thus have no effect on the predictions for this artist. A genre by a single artist
    is never right.

    Args:
        features: (tracks, features).
        labels: (tracks,).
        artists: (tracks,) names of at least two artists.
    """
    fold_of_track = folds(artists)
    predicted = np.empty_like(labels)
    for fold in np.unique(fold_of_track):
        held_out = fold_of_track == fold
        predicted[held_out] = predict(features[~held_out], labels[~held_out], features[held_out])
    return predicted


def folds(artists: np.ndarray) -> np.ndarray:
    """Divide artists at random into FOLDS equal parts; return the fold (tracks,) of each track.

    Fewer artists than folds have a fold each. The folds are not stratified: if they depended on the genres, the genre
    of a track would have an effect on its own prediction.
    """
    names, artist_of_track = np.unique(artists, return_inverse=True)
    places = np.random.default_rng(SEED).permutation(len(names))
    return places[artist_of_track] % FOLDS
