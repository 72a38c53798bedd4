"""Linear SVM that replaces a network's softmax head. It classifies tracks by their mean features.

The SVM is that of scikit-learn's LinearSVC: a binary SVM for each class against the rest, with an L2 penalty and the
squared hinge loss. LinearSVC fits one class after another in compiled code, which no signal can stop. Here, a
quasi-Newton method fits all classes together with a few large matrix products, which also run on a GPU.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

TOLERANCE = 1e-5  # the gradient's largest component at the end, as a share of that at zero weights
MAX_ITERATIONS = 10_000  # about a hundred are usual


@dataclass(frozen=True)
class LinearSVM:
    """One-versus-rest SVM with scores `features @ weights + bias`.

    Weights and bias include the standardisation of the features.
    """

    weights: np.ndarray  # (features, classes) float32
    bias: np.ndarray  # (classes,) float32

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Return (tracks,): for each track, the position of its predicted class in the list of classes.

        Args:
            features: (tracks, features).
        """
        return (features @ self.weights + self.bias).argmax(axis=1)


def fit(
    training: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    candidates: Sequence[float],
    device: torch.device | None = None,
) -> LinearSVM:
    """Fit an SVM for each C; return the one with the highest validation accuracy. The lowest C wins a tie.

    Args:
        training, validation: features (tracks, features) and labels (tracks,). `training` has tracks of every class.
        candidates: values of C.
        device: device of the matrix products, by default the CPU.
    """
    features, labels = validation
    problem = _prepare(*training, device or torch.device("cpu"))
    svms = [_solve(problem, c) for c in sorted(candidates)]
    return max(svms, key=lambda svm: (svm.predict(features) == labels).mean())


@dataclass(frozen=True)
class _Problem:
    """Training tracks as rows of standardised features and a 1, whose weight is the bias, rotated to principal axes.

    All tensors are float64: in float32, the largest values of C end short of the tolerance.
    """

    mean: np.ndarray  # (features,)
    scale: np.ndarray  # (features,) factors of the standardisation
    axes: Tensor  # (features + 1, features + 1), an axis per column
    squares: Tensor  # (features + 1,) sum of squares of all tracks along each axis
    rows: Tensor  # (tracks, features + 1)
    signs: Tensor  # (classes, tracks) 1 for tracks of the class, -1 for all others


def _prepare(features: np.ndarray, labels: np.ndarray, device: torch.device) -> _Problem:
    mean, deviation = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    scale = 1 / np.where(deviation > 0, deviation, 1)
    rows = torch.ones((len(features), len(mean) + 1), dtype=torch.float64)
    rows[:, :-1] = torch.from_numpy((features - mean) * scale)
    rows = rows.to(device)
    squares, axes = (found.to(device) for found in torch.linalg.eigh((rows.T @ rows).cpu()))  # a second, even on a GPU
    signs = np.where(np.arange(labels.max() + 1)[:, None] == labels, 1.0, -1.0)
    # Rounding errors may make a sum of squares negative:
    return _Problem(mean, scale, axes, squares.clamp(min=0), rows @ axes, torch.from_numpy(signs).to(device))


def _solve(problem: _Problem, c: float) -> LinearSVM:
    """Minimise |weights|² / 2 + C · Σ max(0, 1 - sign · score)² over the weights (classes, features + 1).

    The Hessian at zero weights is diagonal along the principal axes: 1 + 2 C · squares. The unknowns are scaled so that
    it becomes the identity matrix. Network features are highly correlated, and without this step, the method needs up
    to ten times as many iterations.
    """
    from scipy.optimize import minimize  # the import takes a third of a second, and prediction does not need it

    rows, signs = problem.rows, problem.signs
    size = (len(signs), rows.shape[1])
    factors = (1 + 2 * c * problem.squares).rsqrt()

    def unscale(unknowns: np.ndarray) -> Tensor:
        return factors * torch.from_numpy(unknowns.reshape(size)).to(rows.device)

    def loss(unknowns: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the loss and its gradient."""
        weights = unscale(unknowns)
        errors = signs * (1 - signs * (weights @ rows.T)).clamp(min=0)
        value = weights.square().sum() / 2 + c * errors.square().sum()
        gradient = factors * (weights - 2 * c * (errors @ rows))
        return value.item(), gradient.cpu().numpy().ravel()

    start = np.zeros(size).ravel()
    tolerance = TOLERANCE * np.abs(loss(start)[1]).max()
    options = {"gtol": tolerance, "ftol": 0, "maxiter": MAX_ITERATIONS, "maxfun": 2 * MAX_ITERATIONS}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options=options)
    if not found.success:
        print(f"SVM head with C = {c:g}: stopped after {found.nit} iterations: {found.message}", flush=True)

    standardised = (unscale(found.x) @ problem.axes.T).cpu().numpy().T  # (features + 1, classes)
    weights = standardised[:-1] * problem.scale[:, None]
    return LinearSVM(weights.astype(np.float32), (standardised[-1] - problem.mean @ weights).astype(np.float32))
