"""What is said of a model's answers, and the simplest density to compare with."""

import numpy


def summary(log_prob):
    """Mean and twice its standard error."""
    log_prob = numpy.asarray(log_prob, dtype=float)
    return {"mean": float(log_prob.mean()), "error": float(2 * log_prob.std() / len(log_prob) ** 0.5)}


def over_seeds(runs):
    """Of log p (N,) and seconds of each training: the mean over the rows and twice its standard error of the middle
    training (of an even number, the worse of the two), each training's mean, and the seconds of one. Not the mean over
    trainings: one row on which a training's density is 1e-7000 would decide it."""
    summaries = [summary(log_prob) for log_prob, _ in runs]
    ranked = sorted(summaries, key=lambda one: one["mean"])
    return {**ranked[(len(ranked) - 1) // 2], "seeds": [one["mean"] for one in summaries],
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
