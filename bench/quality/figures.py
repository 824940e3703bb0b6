"""What is said of a model's answers, and the simplest density to compare with."""

import numpy


def summary(log_prob):
    """Mean and twice its standard error."""
    log_prob = numpy.asarray(log_prob, dtype=float)
    return {"mean": float(log_prob.mean()), "error": float(2 * log_prob.std() / len(log_prob) ** 0.5)}


def gaussian_log_prob(train, test):
    """log p of `test` under the normal distribution with the mean and the covariance of `train`: (N,), in nats."""
    covariance = numpy.atleast_2d(numpy.cov(train, rowvar=False))
    difference = test - train.mean(axis=0)
    _, log_det = numpy.linalg.slogdet(covariance)
    squares = (difference * numpy.linalg.solve(covariance, difference.T).T).sum(axis=1)
    return -0.5 * (squares + log_det + train.shape[1] * numpy.log(2 * numpy.pi))
