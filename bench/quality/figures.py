"""What is said of a model's answers, and the simplest density to compare with."""

import numpy


def summary(log_prob):
    """Mean and twice its standard error."""
    log_prob = numpy.asarray(log_prob, dtype=float)
    return {"mean": float(log_prob.mean()), "error": float(2 * log_prob.std() / len(log_prob) ** 0.5)}


def over_seeds(runs):
    """Of log p (N,) and seconds of each training: the mean over trainings and rows, twice its standard error over the
    rows, each training's mean, and the seconds of one."""
    return {**summary(numpy.mean([log_prob for log_prob, _ in runs], axis=0)),
            "seeds": [float(numpy.mean(log_prob)) for log_prob, _ in runs],
            "seconds": float(numpy.mean([seconds for _, seconds in runs]))}


def area_under_curve(scores, labels):
    """The share of pairs of an anomaly (label 1) and another row in which the anomaly's score is the larger one; equal
    scores count half."""
    scores, labels = numpy.asarray(scores), numpy.asarray(labels, dtype=bool)
    others = numpy.sort(scores[~labels])
    below = numpy.searchsorted(others, scores[labels], side="left")
    up_to = numpy.searchsorted(others, scores[labels], side="right")
    return float((below + up_to).mean() / (2 * len(others)))


def gaussian_log_prob(train, test):
    """log p of `test` under the normal distribution with the mean and the covariance of `train`: (N,), in nats."""
    covariance = numpy.atleast_2d(numpy.cov(train, rowvar=False))
    difference = test - train.mean(axis=0)
    _, log_det = numpy.linalg.slogdet(covariance)
    squares = (difference * numpy.linalg.solve(covariance, difference.T).T).sum(axis=1)
    return -0.5 * (squares + log_det + train.shape[1] * numpy.log(2 * numpy.pi))
